// What kernels see of a step and of the KV cache: device pointers and numbers, passed by value.
#pragma once

#include "kernels/batch.h"
#include "tensor/dtype.h"

#include <cstddef>
#include <cstdint>

namespace narae::kernels::cuda {

// A matrix of activations on the card, float32 or bfloat16 (the type of a Workspace's q, attention and ffn is the backend's
// choice; everything else is float32). Rows lie `stride` elements apart.
struct Matrix {
    void* data = nullptr;
    DType dtype = DType::f32;
    std::int64_t columns = 0, stride = 0;
};

// A Batch whose arrays are on the card. `table`: the block table of one layer group, entry [sequence * table_stride + b].
struct BatchView {
    int rows = 0, sequences = 0;
    const std::int32_t* ids = nullptr;           // [rows]
    const std::int32_t* positions = nullptr;     // [rows]
    const std::int32_t* row_sequence = nullptr;  // [rows]
    const std::int32_t* row_begin = nullptr;     // [sequences + 1]
    const std::int32_t* logit_rows = nullptr;    // [logit rows]
    const std::int32_t* table = nullptr;
    int table_stride = 0;
};

// One layer's keys and values. Block b begins at data + b * block_bytes and holds keys [kv_heads, kBlockTokens, head_dim], then
// values in the same shape.
struct KvView {
    std::byte* data = nullptr;
    std::int64_t block_bytes = 0;  // of all layers: from one block of this layer to the next
    KvType type = KvType::f16;
    int kv_heads = 0, head_dim = 0;
    int window = 0;  // 0: all positions; W: a query sees the last W, itself included
};

}  // namespace narae::kernels::cuda
