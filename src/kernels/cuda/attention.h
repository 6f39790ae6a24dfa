// Attention over the paged KV cache, and how keys and values get there.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/views.h"

namespace narae::kernels::cuda {

// Norm and rotation of the heads of q and k, and the append of k and v: one launch. qkv: [rows, q + 2 * kv columns], to which
// `bias` is added first (null: none); q: where the rotated queries go. rope_table [rows, 2, rotary_dim / 2] float32. A head's
// norm is computed like Norm says (rms or layer, over head_dim); null: none.
void rotate_and_append(const Stream& stream, const BatchView& batch, const Matrix& qkv, const float* bias, int heads,
                       const Norm* q_norm, const Norm* k_norm, const Rope& rope, const float* rope_table, const KvView& kv,
                       const Matrix& q);

// The small operations behind it (Backend::norm_rotate_heads, Backend::append_kv), float32 only.
void norm_rotate_heads(const Stream& stream, int rows, float* heads, int count, int head_dim, const Norm* norm,
                       const Rope& rope, const float* rope_table);
void append_kv(const Stream& stream, const BatchView& batch, const float* k, const float* v, const KvView& kv);

// Bytes of scratch that attention may use for a step of so many rows. They must be zero before the first use; what must be zero
// before the next one is zero again after every use, and lies in the same place for every call.
std::size_t attention_scratch_bytes(const Stream& stream, int max_rows, int heads, int head_dim, int max_context);

// out[r] = softmax(q[r] K^T * scale, causal, window) V. q and out: [rows, heads * head_dim], float32 or bfloat16, each its own.
// `exact`: products in float32 whatever the types (the specification's precision); otherwise queries and probabilities are
// rounded to the cache's 16-bit type for the tensor cores.
// When every sequence has one row (rows == sequences), the launches depend on nothing but rows, the shapes and
// batch.table_stride, so that a recording of them may be replayed with other positions and tables. Otherwise
// `host_row_begin` [sequences + 1] (the same numbers as on the card) shapes them; a recording then must not be made.
void attention(const Stream& stream, const BatchView& batch, const std::int32_t* host_row_begin, const Matrix& q,
               const AttentionParameters& parameters, const KvView& kv, const Matrix& out, bool exact, std::byte* scratch);

}  // namespace narae::kernels::cuda
