// Activations as int8, the one rounding that every backend uses: blocks of 32 consecutive inputs, scale = max|x| / 127 and
// code = x * (1 / scale) rounded to the nearest integer, ties to even, all in f32. A block whose scale is below the smallest
// normal float is all zero (1 / scale would overflow); a block that holds a NaN or an infinity has a NaN for its scale, so that
// products with it are NaN.
#pragma once

#include "formats/format.h"

#include <cmath>
#include <cstdint>
#include <limits>

namespace narae::kernels {

inline constexpr int kActivationBlock = 32;

// Formats whose products are computed in integers when int8 activations are asked for; others see f32.
inline bool rounds_activations(const Format& format) { return !format.dtype && format.block % kActivationBlock == 0; }

// Writes the 32 codes, each in [-127, 127], and returns the scale; the value is code * scale.
inline float round_activations(const float* x, std::int8_t* codes) {
    float largest = 0.0f;
    bool finite = true;
    for (int i = 0; i < kActivationBlock; ++i) {
        const float magnitude = std::fabs(x[i]);
        finite = finite && magnitude <= std::numeric_limits<float>::max();
        largest = magnitude > largest ? magnitude : largest;
    }
    const float scale = largest / 127.0f;
    const bool zero = !finite || scale < std::numeric_limits<float>::min();
    const float inverse = zero ? 0.0f : 1.0f / scale;
    for (int i = 0; i < kActivationBlock; ++i)
        codes[i] = zero ? std::int8_t{0} : static_cast<std::int8_t>(std::nearbyint(x[i] * inverse));
    if (!finite) return std::numeric_limits<float>::quiet_NaN();
    return zero ? 0.0f : scale;
}

}  // namespace narae::kernels
