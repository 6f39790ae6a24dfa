// The streaming products of each layout, compiled one file a layout (few_rows_*.cu from few_rows.cuh).
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"

namespace narae::kernels::cuda {

// Rows of 16-bit activations: float16 for float16 weights, else bfloat16; zeros beyond the weight's columns.
struct Activations16 {
    const void* x = nullptr;
    std::int64_t stride = 0;  // in elements
    int rows = 1;
    // Where x is normed but for the factor 1 / rms, which multiplies the product: the sums of squares of parts of each row.
    const float* squares = nullptr;  // [rows, squares_stride]; null: x is as it should be
    int squares_stride = 0;
    float eps = 0.0f;
};

// One row, staged in shared memory. `early`: let the next kernel start.
template <Layout kLayout>
void launch_one_row(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early);
// Up to 64 rows of 16-bit activations.
template <Layout kLayout>
void launch_few_rows(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early);

}  // namespace narae::kernels::cuda
