// What the attention kernels share: where rows of matrices and of the cache lie, products on tensor cores, scores. For .cu
// files only.
#pragma once

#include "kernels/cuda/attention_call.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace narae::kernels::cuda {

// ---- where things lie -------------------------------------------------------------------------------------------------

__device__ __forceinline__ float load_element(const Matrix& m, std::int64_t index) {
    return m.dtype == DType::f32 ? __ldcg(static_cast<const float*>(m.data) + index)
                                 : to_float(__ldcg(static_cast<const bf16*>(m.data) + index));
}
__device__ __forceinline__ void store_element(const Matrix& m, std::int64_t index, float value) {
    if (m.dtype == DType::f32)
        static_cast<float*>(m.data)[index] = value;
    else
        static_cast<bf16*>(m.data)[index] = from_float<bf16>(value);
}

enum class KvPart : int { keys, values };

// Keys or values [kBlockTokens, head_dim] of one head in a block; `element_bytes` of the cache's type.
__device__ __forceinline__ std::byte* part_of(const KvView& kv, std::int32_t block, KvPart part, int kv_head,
                                              int element_bytes) {
    const int index = static_cast<int>(part) * kv.kv_heads + kv_head;
    return kv.data + block * kv.block_bytes + std::int64_t{index} * (kBlockTokens * kv.head_dim * element_bytes);
}

// Where the keys or values of one head of a batch's row go: [head_dim] elements.
__device__ __forceinline__ std::byte* place_in_cache(const KvView& kv, const BatchView& batch, std::int64_t row, KvPart part,
                                                     int kv_head) {
    const int position = batch.positions[row], element_bytes = kv.type == KvType::f32 ? 4 : 2;
    const std::int64_t entry = std::int64_t{batch.row_sequence[row]} * batch.table_stride + position / kBlockTokens;
    return part_of(kv, batch.table[entry], part, kv_head, element_bytes) +
           position % kBlockTokens * kv.head_dim * element_bytes;
}

__device__ __forceinline__ int first_seen(const KvView& kv, int position) {
    return kv.window > 0 ? max(0, position - kv.window + 1) : 0;
}

// ---- 16-bit pairs ------------------------------------------------------------------------------------

// Two numbers of type T (__half or bf16), the first in the low half.
template <class T>
__device__ __forceinline__ std::uint32_t pack_pair(float first, float second) {
    std::uint32_t pair;
    if constexpr (is_bf16<T>)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

// Eight elements of a float32 or bfloat16 matrix as they lie there: apart from their conversion, so that many loads may be
// under way.
struct Eight {
    uint4 first = make_uint4(0, 0, 0, 0), second = make_uint4(0, 0, 0, 0);  // the second only of float32
};
__device__ __forceinline__ Eight load_eight(const Matrix& m, std::int64_t index) {
    const bool is_float = m.dtype == DType::f32;
    const auto* from = reinterpret_cast<const uint4*>(static_cast<const std::byte*>(m.data) + index * (is_float ? 4 : 2));
    Eight eight;
    eight.first = __ldcg(from);
    if (is_float) eight.second = __ldcg(from + 1);
    return eight;
}
template <class T>
__device__ __forceinline__ uint4 convert_eight(const Matrix& m, const Eight& eight) {
    const uint4 &a = eight.first, &b = eight.second;
    if (m.dtype == DType::f32) {
        const auto pack = [](std::uint32_t x, std::uint32_t y) { return pack_pair<T>(__uint_as_float(x), __uint_as_float(y)); };
        return make_uint4(pack(a.x, a.y), pack(a.z, a.w), pack(b.x, b.y), pack(b.z, b.w));
    }
    if constexpr (is_bf16<T>) return a;
    const auto convert = [](std::uint32_t pair) {
        return pack_pair<T>(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
    };
    return make_uint4(convert(a.x), convert(a.y), convert(a.z), convert(a.w));
}

__device__ __forceinline__ void store_pair(const Matrix& m, std::int64_t index, float first, float second) {
    if (m.dtype == DType::f32)
        *reinterpret_cast<float2*>(static_cast<float*>(m.data) + index) = make_float2(first, second);
    else
        *reinterpret_cast<std::uint32_t*>(static_cast<bf16*>(m.data) + index) = pack_pair<bf16>(first, second);
}

// ---- scores -------------------------------------------------------------------------------------------------------------

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kMinusInfinity = -__builtin_inff();

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// cap * tanh(score / cap). tanh x = 1 - 2 / (e^2x + 1) errs by 2e-7.
__device__ __forceinline__ float capped(float score, float cap) {
    const float power = exp2_fast(2.0f * kLog2E * __fdividef(score, cap));
    return cap * (1.0f - __fdividef(2.0f, power + 1.0f));
}

// What the weighted sum of values is multiplied by at the end. Weights are 2 to the power of score * log2(e) - largest, `total`
// is their sum; a sink joins it without a value.
__device__ __forceinline__ float final_factor(const Attention& a, int head, float largest, float total) {
    if (!a.sinks) return 1.0f / total;
    const float sink = a.sinks[head] * kLog2E, top = fmaxf(largest, sink), factor = exp2_fast(largest - top);
    return factor / (total * factor + exp2_fast(sink - top));
}

}  // namespace narae::kernels::cuda
