#include "tensor/scalar.h"

#include <cmath>
#include <limits>

namespace narae {
namespace {

constexpr std::uint32_t kQuietNan = 0x00400000u;

float with_sign(float magnitude, bool negative) { return negative ? -magnitude : magnitude; }

}  // namespace

float to_float(Half value) {
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (value.bits >> 10) & 0x1fu;
    const std::uint32_t mantissa = value.bits & 0x3ffu;
    if (exponent == 0) return with_sign(static_cast<float>(mantissa) * 0x1p-24f, sign != 0);
    // Infinity, or a NaN that keeps its payload and becomes quiet, as processors do it.
    if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? kQuietNan : 0u));
    return std::bit_cast<float>(sign | ((exponent + 127 - 15) << 23) | (mantissa << 13));
}

Half to_half(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {  // NaN: the upper payload bits, quiet
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    } else if (magnitude >= std::bit_cast<std::uint32_t>(65520.0f)) {  // halfway between 65504 and the next power
        half = 0x7c00u;
    } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p-14f)) {
        // Subnormal: a multiple of 2^-24, which is the unit in the last place of 0.5, so this addition rounds to it.
        half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
    } else {
        const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
        half = (rounded - ((127u - 15u) << 23)) >> 13;
    }
    return {static_cast<std::uint16_t>(sign | half)};
}

float float8_e4m3_to_float(std::uint8_t bits) {
    const bool negative = (bits & 0x80u) != 0;
    const int exponent = (bits >> 3) & 0xf;
    const int mantissa = bits & 0x7;
    if (exponent == 0xf && mantissa == 0x7) return with_sign(std::numeric_limits<float>::quiet_NaN(), negative);
    if (exponent == 0) return with_sign(static_cast<float>(mantissa) * 0x1p-9f, negative);
    return with_sign(std::ldexp(static_cast<float>(8 + mantissa), exponent - 7 - 3), negative);
}

// e5m2 is the upper byte of a half.
float float8_e5m2_to_float(std::uint8_t bits) { return to_float(Half{static_cast<std::uint16_t>(bits << 8)}); }

}  // namespace narae
