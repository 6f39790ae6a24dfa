// The operations between products: one value or one row at a time.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"
#include "kernels/cuda/views.h"

namespace narae::kernels::cuda {

// x[r] = table[id of r] * scale (+ positions[position of r + offset]); an id -1 - s is what slots[s] holds. Ids outside the
// table read its first row (the engine checks them; a recording must not fault).
void embed(const Stream& stream, const BatchView& batch, const Segment& table, float scale, const Segment* positions,
           int position_offset, const std::int32_t* slots, float* x, const NextInput& next);
// cos and sin of position * inverse_frequency, times scaling: [rows, 2, pairs].
void rope_table(const Stream& stream, const BatchView& batch, const float* inverse_frequencies, int pairs, float scaling,
                float* table);
// y[i] = norm(x[index ? index[i] : i]); y may be x where index is null.
void norm_rows(const Stream& stream, int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, float* y);
// The same as 16-bit values [rows, padded], zeros beyond `columns`; x float32 or bfloat16; float16 values where asked.
void prepare_rows(const Stream& stream, int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, int padded,
                  bool float16, void* y);
void activate(const Stream& stream, std::int64_t count, const float* gate, const float* up, Activation activation, float* y);
// y = act(gate) * up with [gate up] in each row of `both`.
void gate_apart(const Stream& stream, int rows, std::int64_t columns, const float* both, Activation activation,
                const Matrix& y);
// residual += scale * x
void add(const Stream& stream, std::int64_t count, float scale, const float* x, float* residual);
void copy_rows(const Stream& stream, int rows, std::int64_t columns, const float* from, std::int64_t from_stride, float* to,
               std::int64_t to_stride);
// Ends a product that lies as bfloat16 or float32 [rows, stride], one column for each row of the weight.
void end_product(const Stream& stream, int rows, const Matrix& product, const Segment& weight, const Ending& ending);

}  // namespace narae::kernels::cuda
