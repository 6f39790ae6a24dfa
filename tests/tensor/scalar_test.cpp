#include "tensor/scalar.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace narae::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

Half half(std::uint32_t bits) { return Half{static_cast<std::uint16_t>(bits)}; }
BFloat16 bfloat16(std::uint32_t bits) { return BFloat16{static_cast<std::uint16_t>(bits)}; }

TEST(Scalar, EveryHalfHasItsValueAndComesBack) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
        const float value = to_float(half(bits));
        EXPECT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
        if (exponent == 31 && mantissa != 0) {
            EXPECT_TRUE(std::isnan(value)) << bits;
            EXPECT_TRUE(std::isnan(to_float(to_half(value)))) << bits;
            continue;
        }
        double expected = exponent == 31  ? std::numeric_limits<double>::infinity()
                          : exponent == 0 ? std::ldexp(mantissa, -24)
                                          : std::ldexp(1024 + mantissa, exponent - 25);
        if (bits & 0x8000) expected = -expected;
        EXPECT_EQ(static_cast<double>(value), expected) << bits;
        EXPECT_EQ(to_half(value).bits, bits);
    }
}

// Between two neighbours: the middle goes to the even one, the floats beside the middle to the nearer one.
template <class Narrow, class Convert>
void expect_rounding(Narrow low, Narrow high, float middle, Convert convert) {
    for (const float sign : {1.0f, -1.0f}) {
        const std::uint16_t sign_bit = sign < 0 ? 0x8000 : 0;
        const std::uint16_t even = (low.bits & 1) == 0 ? low.bits : high.bits;
        EXPECT_EQ(convert(sign * middle).bits, even | sign_bit) << middle;
        EXPECT_EQ(convert(sign * std::nextafter(middle, 0.0f)).bits, low.bits | sign_bit) << middle;
        EXPECT_EQ(convert(sign * std::nextafter(middle, kInfinity)).bits, high.bits | sign_bit) << middle;
    }
}

TEST(Scalar, FloatsRoundToTheNearestHalf) {
    for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
        // Above the largest half the next step would be 65536, where infinity begins.
        const float high = bits + 1 == 0x7c00 ? 65536.0f : to_float(half(bits + 1));
        expect_rounding(half(bits), half(bits + 1), (to_float(half(bits)) + high) / 2, [](float v) { return to_half(v); });
    }
}

TEST(Scalar, FloatsBeyondHalfBecomeInfinityOrZero) {
    EXPECT_EQ(to_half(65519.996f).bits, 0x7bff);
    EXPECT_EQ(to_half(65520.0f).bits, 0x7c00);
    EXPECT_EQ(to_half(std::numeric_limits<float>::max()).bits, 0x7c00);
    EXPECT_EQ(to_half(-kInfinity).bits, 0xfc00);
    EXPECT_EQ(to_half(std::numeric_limits<float>::denorm_min()).bits, 0);
    EXPECT_EQ(to_half(-0x1p-25f).bits, 0x8000);  // a tie with zero, which is even
}

TEST(Scalar, EveryBFloat16ComesBackAndFloatsRoundToTheNearest) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const float value = to_float(bfloat16(bits));
        EXPECT_EQ(bits_of(value), bits << 16);
        if (std::isnan(value))
            EXPECT_TRUE(std::isnan(to_float(to_bfloat16(value)))) << bits;
        else
            EXPECT_EQ(to_bfloat16(value).bits, bits);
    }
    for (std::uint32_t bits = 0; bits < 0x7f80; ++bits)
        expect_rounding(bfloat16(bits), bfloat16(bits + 1), std::bit_cast<float>(bits << 16 | 0x8000u),
                        [](float v) { return to_bfloat16(v); });
}

TEST(Scalar, ANanStaysANan) {
    for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
        const auto nan = std::bit_cast<float>(bits);
        EXPECT_TRUE(std::isnan(to_float(to_half(nan)))) << bits;
        EXPECT_TRUE(std::isnan(to_float(to_bfloat16(nan)))) << bits;
        EXPECT_EQ(to_half(nan).bits >> 15, bits >> 31);
        EXPECT_EQ(to_bfloat16(nan).bits >> 15, bits >> 31);
    }
}

// Codes in order are values in order; the step doubles with each exponent above the first normal one.
void expect_float8(float (*convert)(std::uint8_t), int mantissa_bits, float first_step, int last_finite) {
    float value = 0;
    for (int code = 0; code <= last_finite; ++code) {
        EXPECT_EQ(bits_of(convert(static_cast<std::uint8_t>(code))), bits_of(value)) << code;
        EXPECT_EQ(bits_of(convert(static_cast<std::uint8_t>(code | 0x80))), bits_of(-value)) << code;
        const int exponent = code >> mantissa_bits;
        value += std::ldexp(first_step, exponent > 0 ? exponent - 1 : 0);
    }
}

TEST(Scalar, EveryFloat8HasItsValue) {
    expect_float8(float8_e4m3_to_float, 3, 0x1p-9f, 0x7e);
    EXPECT_EQ(float8_e4m3_to_float(0x7e), 448.0f);
    EXPECT_TRUE(std::isnan(float8_e4m3_to_float(0x7f)));
    EXPECT_TRUE(std::isnan(float8_e4m3_to_float(0xff)));

    expect_float8(float8_e5m2_to_float, 2, 0x1p-16f, 0x7b);
    EXPECT_EQ(float8_e5m2_to_float(0x7b), 57344.0f);
    EXPECT_EQ(float8_e5m2_to_float(0x7c), kInfinity);
    EXPECT_EQ(float8_e5m2_to_float(0xfc), -kInfinity);
    for (const int code : {0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff})
        EXPECT_TRUE(std::isnan(float8_e5m2_to_float(static_cast<std::uint8_t>(code)))) << code;
}

// Every code comes back; the middle between two neighbours goes to the even code, the floats beside it to the nearer one.
void expect_encoding(float (*decode)(std::uint8_t), std::uint8_t (*encode)(float), int last_finite, int sign_bit) {
    for (int code = 0; code <= last_finite; ++code)
        for (const int sign : {0, sign_bit}) {
            const float factor = sign ? -1.0f : 1.0f, low = std::fabs(decode(static_cast<std::uint8_t>(code)));
            EXPECT_EQ(encode(factor * low), code | sign) << code;
            if (code == last_finite) continue;
            const float high = std::fabs(decode(static_cast<std::uint8_t>(code + 1))), middle = (low + high) / 2;
            EXPECT_EQ(encode(factor * middle), (code + code % 2) | sign) << code;
            EXPECT_EQ(encode(factor * std::nextafter(middle, 0.0f)), code | sign) << code;
            EXPECT_EQ(encode(factor * std::nextafter(middle, kInfinity)), (code + 1) | sign) << code;
        }
    EXPECT_EQ(encode(std::numeric_limits<float>::denorm_min()), 0);
    EXPECT_EQ(encode(-std::numeric_limits<float>::denorm_min()), sign_bit);
}

TEST(Scalar, EveryFloat8ComesBackAndFloatsRoundToTheNearest) {
    expect_encoding(float8_e4m3_to_float, float_to_float8_e4m3, 0x7e, 0x80);
    for (const float large : {449.0f, 464.0f, 480.0f, 1e30f, kInfinity}) {
        EXPECT_EQ(float_to_float8_e4m3(large), 0x7e) << large;
        EXPECT_EQ(float_to_float8_e4m3(-large), 0xfe) << large;
    }
    expect_encoding(float8_e5m2_to_float, float_to_float8_e5m2, 0x7b, 0x80);
    EXPECT_EQ(float_to_float8_e5m2(std::nextafter(61440.0f, 0.0f)), 0x7b);
    EXPECT_EQ(float_to_float8_e5m2(61440.0f), 0x7c);
    EXPECT_EQ(float_to_float8_e5m2(-kInfinity), 0xfc);
    for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0xffffffffu}) {
        const auto nan = std::bit_cast<float>(bits);
        EXPECT_TRUE(std::isnan(float8_e4m3_to_float(float_to_float8_e4m3(nan)))) << bits;
        EXPECT_TRUE(std::isnan(float8_e5m2_to_float(float_to_float8_e5m2(nan)))) << bits;
    }
}

TEST(Scalar, Float4HasEightMagnitudes) {
    const float magnitudes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    for (int code = 0; code < 256; ++code) {  // the upper bits do not matter
        const float expected = (code & 8) != 0 ? -magnitudes[code & 7] : magnitudes[code & 7];
        EXPECT_EQ(bits_of(float4_e2m1_to_float(static_cast<std::uint8_t>(code))), bits_of(expected)) << code;
    }
    expect_encoding(float4_e2m1_to_float, float_to_float4_e2m1, 7, 8);
    for (const float large : {6.5f, 7.0f, 8.0f, 1e30f, kInfinity}) {
        EXPECT_EQ(float_to_float4_e2m1(large), 7) << large;
        EXPECT_EQ(float_to_float4_e2m1(-large), 15) << large;
    }
    EXPECT_EQ(float_to_float4_e2m1(std::numeric_limits<float>::quiet_NaN()), 0);
    EXPECT_EQ(float_to_float4_e2m1(-std::numeric_limits<float>::quiet_NaN()), 0);
}

TEST(Scalar, EveryE8m0IsAPowerOfTwo) {
    for (int code = 0; code < 255; ++code) {
        const float value = float8_e8m0_to_float(static_cast<std::uint8_t>(code));
        EXPECT_EQ(static_cast<double>(value), std::ldexp(1.0, code - 127)) << code;
        EXPECT_EQ(float_to_float8_e8m0(value), code);
        EXPECT_EQ(float_to_float8_e8m0(1.5f * value), code + 1) << code;
        EXPECT_EQ(float_to_float8_e8m0(std::nextafter(1.5f * value, 0.0f)), code) << code;
    }
    EXPECT_TRUE(std::isnan(float8_e8m0_to_float(255)));
    EXPECT_EQ(float_to_float8_e8m0(0.0f), 0);
    EXPECT_EQ(float_to_float8_e8m0(-0.0f), 0);
    for (const float none : {-1.0f, kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 0x1.8p127f})
        EXPECT_EQ(float_to_float8_e8m0(none), 255) << none;
}

}  // namespace
}  // namespace narae::test
