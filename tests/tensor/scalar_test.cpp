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

}  // namespace
}  // namespace narae::test
