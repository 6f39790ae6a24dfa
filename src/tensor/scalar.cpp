#include "tensor/scalar.h"

#include <cmath>
#include <limits>

namespace narae {
namespace {

constexpr std::uint32_t kQuietNan = 0x00400000u;

float with_sign(float magnitude, bool negative) { return negative ? -magnitude : magnitude; }

// A float's magnitude (finite) as the code of a narrow format without its sign: exponent field, then `mantissa_bits` bits.
// `smallest_normal` is the exponent of the first normal number. May give codes beyond the format's last one.
std::uint32_t narrow_code(float magnitude, int mantissa_bits, int smallest_normal) {
    const auto bits = std::bit_cast<std::uint32_t>(magnitude);
    if (magnitude < std::ldexp(1.0f, smallest_normal)) {
        // Subnormal: a multiple of one step, which is the unit in the last place of `unit`, so that this addition rounds to it.
        const float unit = std::ldexp(1.0f, smallest_normal - mantissa_bits + 23);
        return std::bit_cast<std::uint32_t>(magnitude + unit) - std::bit_cast<std::uint32_t>(unit);
    }
    const int dropped = 23 - mantissa_bits;
    const std::uint32_t rounded = bits + (1u << (dropped - 1)) - 1u + ((bits >> dropped) & 1u);
    return (rounded >> dropped) - (static_cast<std::uint32_t>(smallest_normal + 127 - 1) << mantissa_bits);
}

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

std::uint8_t float_to_float8_e4m3(float value) {
    const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return static_cast<std::uint8_t>(sign | 0x7f);
    if (magnitude >= 448.0f) return static_cast<std::uint8_t>(sign | 0x7e);
    return static_cast<std::uint8_t>(sign | narrow_code(magnitude, 3, -6));
}

// e5m2 is the upper byte of a half.
float float8_e5m2_to_float(std::uint8_t bits) { return to_float(Half{static_cast<std::uint16_t>(bits << 8)}); }

std::uint8_t float_to_float8_e5m2(float value) {
    const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return static_cast<std::uint8_t>(sign | 0x7f);
    if (magnitude >= 61440.0f) return static_cast<std::uint8_t>(sign | 0x7c);  // halfway from 57344 to the next power
    return static_cast<std::uint8_t>(sign | narrow_code(magnitude, 2, -14));
}

float float4_e2m1_to_float(std::uint8_t bits) {
    constexpr float kMagnitudes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    return with_sign(kMagnitudes[bits & 7], (bits & 8) != 0);
}

std::uint8_t float_to_float4_e2m1(float value) {
    const std::uint8_t sign = std::signbit(value) ? 8 : 0;
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return 0;
    if (magnitude >= 6.0f) return static_cast<std::uint8_t>(sign | 7);
    return static_cast<std::uint8_t>(sign | narrow_code(magnitude, 1, 0));
}

float float8_e8m0_to_float(std::uint8_t bits) {
    if (bits == 0xff) return std::numeric_limits<float>::quiet_NaN();
    return std::ldexp(1.0f, bits - 127);
}

std::uint8_t float_to_float8_e8m0(float value) {
    if (!(value >= 0.0f) || std::isinf(value)) return 0xff;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    // Below 2^-126, code 1, there is only its half, which is a subnormal float: halfway is 0.75 of it.
    if (bits < 0x800000u) return bits < 0x600000u ? 0 : 1;
    // The exponent field, rounded at the mantissa's first bit.
    return static_cast<std::uint8_t>((bits + 0x400000u) >> 23);
}

}  // namespace narae
