// What a lane holds of a strip: the pieces that the products and the unpacking read, and how codes become operands of
// mma.m16n8k16 (formats/strips.h says where they lie). For .cu files only.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/segment.h"

namespace narae::kernels::cuda {

template <Layout kLayout>
struct Half16 {
    using type = bf16;
};
template <>
struct Half16<Layout::f16> {
    using type = __half;
};

// (x & mask) | bits in one instruction.
__device__ __forceinline__ std::uint32_t and_or(std::uint32_t x, std::uint32_t mask, std::uint32_t bits) {
    std::uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(x), "r"(mask), "r"(bits));
    return r;
}
__device__ __forceinline__ std::uint32_t subtract_bf16x2(std::uint32_t a, std::uint32_t b) {
    std::uint32_t r;
    asm("{.reg .b32 one;\n mov.b32 one, 0x3F803F80;\n fma.rn.bf16x2 %0, %2, one, %1;}"
        : "=r"(r)
        : "r"(a), "r"(b ^ 0x80008000u));
    return r;
}

// bfloat16 128 + n for a code n below 128 is the bits 0x4300 | n.
constexpr std::uint32_t k128 = 0x43004300u;

// What a lane holds of one strip: Piece::kUnits units of columns, read from the lane's places in the layout's arrays (Source).
// With one row of activations kOneRowDepth pieces are under way at once, a block has at most kOneRowWarps warps, and
// kOneRowBlocks of them fit on a multiprocessor; with more rows kDepth pieces. Measured: 4-bit weights want many warps with few
// registers, dense ones many loads under way; a register that is spilled costs more than either gains.
template <Layout kLayout>
struct Piece;

template <Layout kLayout>
struct Q4Piece {
    static constexpr bool kMinimum = kLayout == Layout::q4_minimum;
    static constexpr int kUnits = 2, kOneRowDepth = kMinimum ? 3 : 4, kOneRowWarps = kMinimum ? 8 : 16;
    static constexpr int kOneRowBlocks = kMinimum ? 3 : 2, kDepth = 4;
    static constexpr bool kScaled = true;
    struct Source {
        const uint4* codes;
        const uint2 *scales, *minimums;
    };
    uint4 codes;
    uint2 scales, minimums;

    static __device__ __forceinline__ Source source(const Segment& w, int strip, int lane) {
        const std::int64_t at = std::int64_t{strip} * (w.units / 2);
        Source s{};
        s.codes = reinterpret_cast<const uint4*>(w.codes) + at * 32 + lane;
        s.scales = reinterpret_cast<const uint2*>(w.scales) + at * 8 + lane / 4;
        if constexpr (kLayout == Layout::q4_minimum)
            s.minimums = reinterpret_cast<const uint2*>(w.minimums) + at * 8 + lane / 4;
        return s;
    }
    __device__ __forceinline__ void load(const Source& s, int piece) {
        codes = __ldcs(s.codes + piece * 32);
        scales = __ldcs(s.scales + piece * 8);
        if constexpr (kLayout == Layout::q4_minimum) minimums = __ldcs(s.minimums + piece * 8);
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ void operand(std::uint32_t (&a)[4]) const {
        const std::uint32_t word = kUnit == 0 ? (kPair == 0 ? codes.x : codes.y) : (kPair == 0 ? codes.z : codes.w);
        constexpr std::uint32_t kZero = kLayout == Layout::q4 ? 0x43084308u : k128;  // 128 + 8
#pragma unroll
        for (int i = 0; i < 4; ++i) a[i] = subtract_bf16x2(and_or(word >> (4 * i), 0x000F000Fu, k128), kZero);
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ float2 scale() const {
        const std::uint32_t both = kUnit == 0 ? scales.x : scales.y;
        return __half22float2(*reinterpret_cast<const __half2*>(&both));
    }
    template <int kUnit>
    __device__ __forceinline__ float2 minimum() const {
        const std::uint32_t both = kUnit == 0 ? minimums.x : minimums.y;
        return __half22float2(*reinterpret_cast<const __half2*>(&both));
    }
};
template <>
struct Piece<Layout::q4> : Q4Piece<Layout::q4> {};
template <>
struct Piece<Layout::q4_minimum> : Q4Piece<Layout::q4_minimum> {};

template <>
struct Piece<Layout::q8> {
    static constexpr int kUnits = 1, kOneRowDepth = 8, kOneRowWarps = 8, kOneRowBlocks = 3, kDepth = 8;
    static constexpr bool kScaled = true;
    struct Source {
        const uint4* codes;
        const std::uint32_t* scales;
    };
    uint4 codes;
    std::uint32_t scales;

    static __device__ __forceinline__ Source source(const Segment& w, int strip, int lane) {
        const std::int64_t at = std::int64_t{strip} * w.units;
        Source s{};
        s.codes = reinterpret_cast<const uint4*>(w.codes) + at * 32 + lane;
        s.scales = reinterpret_cast<const std::uint32_t*>(w.scales) + at * 8 + lane / 4;
        return s;
    }
    __device__ __forceinline__ void load(const Source& s, int piece) {
        codes = __ldcs(s.codes + piece * 32);
        scales = __ldcs(s.scales + piece * 8);
    }
    // Two neighbouring int8 as bfloat16: (128 + the low 7 bits) - (128 or, with the sign bit, 256).
    template <int kSelect>
    static __device__ __forceinline__ std::uint32_t two(std::uint32_t word) {
        const std::uint32_t bytes = __byte_perm(word, 0, kSelect);
        return subtract_bf16x2(and_or(bytes, 0x007F007Fu, k128), and_or(bytes, 0x00800080u, k128));
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ void operand(std::uint32_t (&a)[4]) const {
        const std::uint32_t first = kPair == 0 ? codes.x : codes.z, second = kPair == 0 ? codes.y : codes.w;
        a[0] = two<0x4140>(first);
        a[1] = two<0x4140>(second);
        a[2] = two<0x4342>(first);
        a[3] = two<0x4342>(second);
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ float2 scale() const {
        return __half22float2(*reinterpret_cast<const __half2*>(&scales));
    }
};

template <>
struct Piece<Layout::q6> {
    static constexpr int kUnits = 2, kOneRowDepth = 3, kOneRowWarps = 8, kOneRowBlocks = 3, kDepth = 4;
    static constexpr bool kScaled = true;
    struct Source {
        const uint4* codes;
        const uint2 *high, *scales;
        const std::uint32_t* block_scales;
    };
    uint4 codes;
    uint2 high, scales;
    std::uint32_t block_scales;

    static __device__ __forceinline__ Source source(const Segment& w, int strip, int lane) {
        const std::int64_t at = std::int64_t{strip} * (w.units / 2);
        Source s{};
        s.codes = reinterpret_cast<const uint4*>(w.codes) + at * 32 + lane;
        s.high = reinterpret_cast<const uint2*>(w.high) + at * 32 + lane;
        s.scales = reinterpret_cast<const uint2*>(w.scales) + at * 8 + lane / 4;
        s.block_scales =
            reinterpret_cast<const std::uint32_t*>(w.block_scales) + std::int64_t{strip} * (w.units / 8) * 8 + lane / 4;
        return s;
    }
    __device__ __forceinline__ void load(const Source& s, int piece) {
        codes = __ldcs(s.codes + piece * 32);
        high = __ldcs(s.high + piece * 32);
        scales = __ldcs(s.scales + piece * 8);
        block_scales = __ldcs(s.block_scales + piece / 4 * 8);
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ void operand(std::uint32_t (&a)[4]) const {
        const std::uint32_t low = kUnit == 0 ? (kPair == 0 ? codes.x : codes.y) : (kPair == 0 ? codes.z : codes.w);
        const std::uint32_t two_bits = (kUnit == 0 ? high.x : high.y) >> (8 * kPair);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t upper = (2 * i >= 4 ? two_bits >> (2 * i - 4) : two_bits << (4 - 2 * i)) & 0x00300030u;
            a[i] = subtract_bf16x2(and_or(low >> (4 * i), 0x000F000Fu, upper | k128), 0x43204320u);  // 128 + 32
        }
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ float2 scale() const {
        const float2 of_block = __half22float2(*reinterpret_cast<const __half2*>(&block_scales));
        const std::uint32_t four = (kUnit == 0 ? scales.x : scales.y) >> (16 * kPair);
        return {of_block.x * static_cast<float>(static_cast<std::int8_t>(four)),
                of_block.y * static_cast<float>(static_cast<std::int8_t>(four >> 8))};
    }
};

template <Layout kLayout>
struct DensePiece {
    static constexpr int kUnits = 1, kOneRowDepth = 8, kOneRowWarps = 8, kOneRowBlocks = 2, kDepth = 4;
    static constexpr bool kScaled = false;
    struct Source {
        const uint4 *first, *second;
    };
    uint4 first, second;  // 8 columns of rows g and g + 8

    static __device__ __forceinline__ Source source(const Segment& w, int strip, int lane) {
        // Rows beyond the end read the last one; nothing is done with them.
        const int row = strip * kStripRows + lane / 4, last = w.rows - 1;
        const auto at = [&](int r) {
            const std::int64_t natural = w.natural(min(r, last));
            return reinterpret_cast<const uint4*>(w.codes + (natural * w.columns + lane % 4 * 8) * 2);
        };
        return {at(row), at(row + 8)};
    }
    __device__ __forceinline__ void load(const Source& s, int piece) {
        first = __ldcs(s.first + piece * 4);
        second = __ldcs(s.second + piece * 4);
    }
    template <int kUnit, int kPair>
    __device__ __forceinline__ void operand(std::uint32_t (&a)[4]) const {
        a[0] = kPair == 0 ? first.x : first.z;
        a[1] = kPair == 0 ? second.x : second.z;
        a[2] = kPair == 0 ? first.y : first.w;
        a[3] = kPair == 0 ? second.y : second.w;
    }
};
template <>
struct Piece<Layout::bf16> : DensePiece<Layout::bf16> {};
template <>
struct Piece<Layout::f16> : DensePiece<Layout::f16> {};

}  // namespace narae::kernels::cuda
