// One call of attention(), and the three ways to compute it. Plain C++.
#pragma once

#include "kernels/cuda/attention.h"

namespace narae::kernels::cuda {

// What the kernels see of it, passed by value.
struct Attention {
    BatchView batch;
    Matrix q, out;
    KvView kv;
    int heads = 0, group = 0;  // query heads: all, and those of one kv head
    float scale = 1.0f, soft_cap = 0.0f;
    const float *slopes = nullptr, *sinks = nullptr;  // null: none
};

// Products in float32, any shape and type: attention_generic.cu.
void attend_generic(const Stream& stream, const Attention& a);

// On tensor cores: a 16-bit cache, head_dim a multiple of 8 up to 256, q and out in rows that 16-byte accesses can reach.
// The sequences with a single row: attention_decode.cu. Those with more: attention_prefill.cu.
void attend_single_rows(const Stream& stream, const Attention& a, std::byte* scratch);
void attend_row_tiles(const Stream& stream, const Attention& a, const std::int32_t* host_row_begin);

}  // namespace narae::kernels::cuda
