// Half-precision and 8-bit floating-point numbers as bit patterns, converted by obvious code (the specification; fast
// conversions live in kernels/). Rounding is to nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

namespace narae {

struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

float to_float(Half value);  // exact
Half to_half(float value);   // overflow becomes infinity; a NaN stays a NaN

constexpr float to_float(BFloat16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }

constexpr BFloat16 to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

float float8_e4m3_to_float(std::uint8_t bits);  // e4m3fn: no infinities, 0x7f and 0xff are NaN
float float8_e5m2_to_float(std::uint8_t bits);

}  // namespace narae
