// Small functions of kernels: reading one value of a weight, activations, the endings of products.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/segment.h"

namespace narae::kernels::cuda {

template <class T>
__device__ __forceinline__ T load_as(const std::byte* array, std::int64_t index) {
    return reinterpret_cast<const T*>(array)[index];
}

// The value of one element, exact in float32 (up to the last rounding of code * scale). Any row below the filled-up rows.
template <Layout kLayout>
__device__ float element(const Segment& w, int row, int column) {
    if constexpr (is_dense(kLayout)) {
        if (row >= w.rows) return 0.0f;
        const std::int64_t index = std::int64_t{row} * w.columns + column;
        if constexpr (kLayout == Layout::f32) return load_as<float>(w.codes, index);
        if constexpr (kLayout == Layout::f16) return __half2float(load_as<__half>(w.codes, index));
        if constexpr (kLayout == Layout::bf16) return __bfloat162float(load_as<bf16>(w.codes, index));
    } else {
        const int strip = row / kStripRows, unit = column / kUnitColumns, c = column % kUnitColumns;
        const int g = row % 8, h = row % kStripRows / 8, e = c % 4, i = 2 * (e / 2) + h;
        if constexpr (kLayout == Layout::q4 || kLayout == Layout::q4_minimum) {
            const int j = c % 8 / 4;
            const auto word = load_as<std::uint32_t>(w.codes, q4_word(w.units, strip, unit, strip_lane(row, c / 8), j));
            const int code = static_cast<int>(word >> (4 * (i + 4 * (e % 2))) & 15u);
            const std::int64_t at = q4_scale(w.units, strip, unit, g, h);
            const float scale = __half2float(load_as<__half>(w.scales, at));
            if constexpr (kLayout == Layout::q4) return static_cast<float>(code - 8) * scale;
            return __fadd_rn(__fmul_rn(static_cast<float>(code), scale), __half2float(load_as<__half>(w.minimums, at)));
        }
        if constexpr (kLayout == Layout::q8) {
            const auto word =
                load_as<std::uint32_t>(w.codes, q8_word(w.units, strip, unit, strip_lane(row, c / 8), c % 8 / 4, h));
            return static_cast<float>(static_cast<std::int8_t>(word >> (8 * e))) *
                   __half2float(load_as<__half>(w.scales, q8_scale(w.units, strip, unit, g, h)));
        }
        if constexpr (kLayout == Layout::q6) {
            const int j = c / 16;
            const std::int64_t lane = strip_lane(row, c % 16 / 4);
            const auto low = load_as<std::uint32_t>(w.codes, q4_word(w.units, strip, unit, lane, j));
            const auto high = load_as<std::uint32_t>(w.high, q6_high_word(w.units, strip, unit, lane));
            const int code =
                static_cast<int>((low >> (4 * (i + 4 * (e % 2))) & 15u) | (high >> (2 * (i + 4 * j) + 16 * (e % 2)) & 3u) << 4);
            const float of_block = __half2float(load_as<__half>(w.block_scales, q6_block_scale(w.units, strip, unit, g, h)));
            return of_block * static_cast<float>(load_as<std::int8_t>(w.scales, q6_scale(w.units, strip, unit, g, j, h))) *
                   static_cast<float>(code - 32);
        }
    }
    return 0.0f;
}

__device__ __forceinline__ float activate_value(Activation activation, float x) {
    switch (activation) {
        case Activation::silu:
            return x / (1.0f + expf(-x));
        case Activation::gelu_erf:
            return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
        case Activation::gelu_tanh:
            return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        case Activation::quick_gelu:
            return x / (1.0f + expf(-1.702f * x));
        case Activation::relu:
            return x > 0.0f || x != x ? x : 0.0f;
    }
    return x;
}

__device__ __forceinline__ void store_value(void* y, bool as_bf16, std::int64_t index, float value) {
    if (as_bf16)
        static_cast<bf16*>(y)[index] = __float2bfloat16_rn(value);
    else
        static_cast<float*>(y)[index] = value;
}

__device__ __forceinline__ void finish_one(const Ending& e, int row, int column, float value) {
    if (column < 0) return;
    if (e.bias) value += e.bias[column];
    const std::int64_t at = row * e.stride + column;
    switch (e.kind) {
        case Ending::Kind::add: {
            float* y = static_cast<float*>(e.y) + at;
            *y = __ldcg(y) + e.scale * value;
            return;
        }
        case Ending::Kind::activate:
            value = activate_value(e.activation, value);
            break;
        case Ending::Kind::logits:
            value *= e.scale;
            if (e.soft_cap > 0.0f) value = e.soft_cap * tanhf(value / e.soft_cap);
            break;
        case Ending::Kind::store:
        case Ending::Kind::gate:
        case Ending::Kind::heads:
            break;
    }
    store_value(e.y, e.bf16, at, value);
}

// The values of rows `low` and low + 8 of the weight (low mod 16 < 8) for one row of activations.
__device__ __forceinline__ void finish_pair(const Ending& e, const Segment& w, int row, int low, float first, float second) {
    if (e.kind != Ending::Kind::gate) {
        finish_one(e, row, w.output(low), first);
        finish_one(e, row, w.output(low + 8), second);
        return;
    }
    const int column = w.output(low);
    if (column < 0) return;
    if (e.bias) {
        first += e.bias[column];
        second += e.bias[w.part_rows + column];
    }
    store_value(e.y, e.bf16, row * e.stride + column, activate_value(e.activation, first) * second);
}

}  // namespace narae::kernels::cuda
