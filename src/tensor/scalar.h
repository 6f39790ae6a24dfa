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

// 8-bit and 4-bit floats: sign, exponent and mantissa bits as the name says. Encoding rounds to nearest, ties to even.
float float8_e4m3_to_float(std::uint8_t bits);   // e4m3fn: no infinities, 0x7f and 0xff are NaN
std::uint8_t float_to_float8_e4m3(float value);  // beyond 448 and infinities: 448; a NaN stays a NaN
float float8_e5m2_to_float(std::uint8_t bits);
std::uint8_t float_to_float8_e5m2(float value);  // as to_half: overflow becomes infinity; a NaN stays a NaN
float float4_e2m1_to_float(std::uint8_t bits);   // 0, 0.5, 1, 1.5, 2, 3, 4, 6; bit 3: sign; higher bits are ignored
std::uint8_t float_to_float4_e2m1(float value);  // beyond 6 and infinities: 6; a NaN, which has no code, becomes zero

// E8M0: a power of two, 2^(bits - 127); 0xff is NaN.
float float8_e8m0_to_float(std::uint8_t bits);
// The nearest power of two, halfway the larger one; 0 becomes the smallest, 2^-127. NaN for negative values, infinities, NaN
// and from 1.5 x 2^127 on.
std::uint8_t float_to_float8_e8m0(float value);

}  // namespace narae
