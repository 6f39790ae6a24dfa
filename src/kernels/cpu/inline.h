// Helpers of the kernel templates. Files of this folder that are compiled for an instruction set (kernels_*.cpp) may not
// leave behind functions that the linker could merge with another file's: whatever they include is a template over the
// instruction set or always inlined, and they use no templates of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#define NARAE_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define NARAE_UNROLL _Pragma("unroll")
#else
#define NARAE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace narae::kernels::cpu {

template <class T>
NARAE_INLINE T smaller(T a, T b) {
    return b < a ? b : a;
}
template <class T>
NARAE_INLINE T larger(T a, T b) {
    return a < b ? b : a;
}
NARAE_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace narae::kernels::cpu
