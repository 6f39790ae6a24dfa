// The endings of streaming products that do more than store a value: heads that are rotated and put where attention reads, and
// a residual that is made ready for the next norm. For .cu files only.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/device_math.cuh"

namespace narae::kernels::cuda {

template <class T>
__device__ __forceinline__ void store_at(std::byte* to, int index, float value) {
    reinterpret_cast<T*>(to)[index] = from_float<T>(value);
}

// One component of row `row`'s q, k or v; `column`: of [q k v].
__device__ __forceinline__ void put_component(const HeadsEnding& e, int row, int column, float value) {
    if (column < 0) return;
    const int head_dim = e.kv.head_dim, head = column / head_dim, d = column % head_dim;
    if (head < e.heads) return store_element(e.q, row * e.q.stride + column, value);
    const bool is_key = head - e.heads < e.kv.kv_heads;
    const int kv_head = head - e.heads - (is_key ? 0 : e.kv.kv_heads);
    std::byte* to = place_in_cache(e.kv, e.batch, row, is_key ? KvPart::keys : KvPart::values, kv_head);
    switch (e.kv.type) {
        case KvType::f32:
            return store_at<float>(to, d, value);
        case KvType::f16:
            return store_at<__half>(to, d, value);
        case KvType::bf16:
            return store_at<bf16>(to, d, value);
    }
}

// Rows `low` and low + 8 of qkv's weight for one row of activations.
__device__ __forceinline__ void finish_heads(const Ending& ending, const Segment& w, int row, int low, float first,
                                             float second) {
    const HeadsEnding& e = ending.heads;
    const int one = w.output(low), other = w.output(low + 8);
    if (ending.bias) {
        if (one >= 0) first += ending.bias[one];
        if (other >= 0) second += ending.bias[other];
    }
    const int at = low < w.head_rows ? low % w.heads.head_dim : e.rope.rotary_dim;
    if (at < e.rope.rotary_dim) {
        const int half = e.rope.rotary_dim / 2, i = at / 16 * 8 + at % 8;
        const float* angles = e.rope_table + std::int64_t{row} * e.rope.rotary_dim;
        const float cosine = __ldcg(angles + i), sine = __ldcg(angles + half + i), a = first, b = second;
        first = a * cosine - b * sine;
        second = b * cosine + a * sine;
    }
    put_component(e, row, one, first);
    put_component(e, row, other, second);
}

// Adds to the residual and writes what the next norm needs. The eight threads that have one strip's pairs of a row call it
// together: they are eight neighbours of a warp, and `low` mod 8 numbers them.
__device__ __forceinline__ void finish_residual(const Ending& e, const Segment& w, int row, int low, float first,
                                                float second) {
    float squares = 0.0f;
    const auto one = [&](int column, float value) {
        if (column < 0) return;
        if (e.bias) value += e.bias[column];
        float* y = static_cast<float*>(e.y) + row * e.stride + column;
        value = __ldcg(y) + e.scale * value;
        *y = value;
        squares = fmaf(value, value, squares);
        if (e.next.norm_weight) value *= e.next.norm_weight[column];
        static_cast<bf16*>(e.next.x)[row * e.next.stride + column] = from_float<bf16>(value);
    };
    one(w.output(low), first);
    one(w.output(low + 8), second);
    const unsigned together = 0xffu << (threadIdx.x % 32 / 8 * 8);
#pragma unroll
    for (int distance = 1; distance < 8; distance *= 2) squares += __shfl_xor_sync(together, squares, distance);
    if (low % 8 == 0) e.next.squares[std::int64_t{row} * e.next.squares_stride + low / kStripRows] = squares;
}

}  // namespace narae::kernels::cuda
