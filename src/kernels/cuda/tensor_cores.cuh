// The product on tensor cores that everything here is made of.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace narae::kernels::cuda {

template <class T>
inline constexpr bool is_bf16 = false;
template <>
inline constexpr bool is_bf16<bf16> = true;

// c[16, 8] += a[16, 16] b[16, 8] of type T (__half or bf16), c in float32. Not volatile, so that independent products may be
// interleaved. With g = lane / 4 and t = lane % 4 a lane holds c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1); a: pairs
// of columns 2t of rows g and g + 8, then the same at column 2t + 8; b: pairs of rows 2t and 2t + 8 of column g.
template <class T>
__device__ __forceinline__ void multiply(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                                         std::uint32_t b0, std::uint32_t b1) {
    if constexpr (is_bf16<T>)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <class T>
__device__ __forceinline__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    multiply<T>(c, a[0], a[1], a[2], a[3], b0, b1);
}

}  // namespace narae::kernels::cuda
