// Packing and unpacking again stays within the bound that follows from the format's rule.
#include "formats/format.h"
#include "support/random_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace narae::test {
namespace {

// A half keeps 11 significant bits, and nothing below 2^-24.
double half_error(double value) { return std::max(std::fabs(value) * 0x1p-11, 0x1p-25); }

struct Rule {
    const char* name;
    double levels;    // the scale is range / levels
    double farthest;  // largest |code - zero|
    bool minimum;     // range = max - min; otherwise the value of largest magnitude
    double clamp;     // the code one step beyond the range is cut by this much, in scales
};

// |y - x| <= half a step (or the cut) + the scale's rounding x code + the minimum's rounding + float32 rounding.
double bound(const Rule& rule, const float* x, int count) {
    const auto [low, high] = std::minmax_element(x, x + count);
    const double extreme = std::max(std::fabs(double{*low}), std::fabs(double{*high}));
    const double scale = (rule.minimum ? double{*high} - double{*low} : extreme) / rule.levels;
    double error = scale * std::max(0.5, rule.clamp) + half_error(scale) * rule.farthest;
    if (rule.minimum) error += half_error(*low);
    return error + 4 * extreme * 0x1p-23 + scale * rule.farthest * 4 * 0x1p-23;
}

class RoundTrip : public testing::TestWithParam<Rule> {};

TEST_P(RoundTrip, StaysWithinTheBound) {
    const Rule rule = GetParam();
    const Format& format = *find_format(rule.name);
    for (const float deviation : {1.0f, 0.02f, 1e-5f, 300.0f, 1e-9f}) {
        const std::int64_t out = 50, in = 128;
        const std::vector<float> x = random_values(static_cast<std::size_t>(out * in), 3, deviation);
        const std::vector<float> y = unpack_all(pack_weight(format, out, in, x).weight);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double allowed = bound(rule, x.data() + i / 32 * 32, 32);
            ASSERT_LE(std::fabs(double{y[i]} - double{x[i]}), allowed) << rule.name << " " << i << " " << x[i];
        }
    }
}

// Values on the format's own grid come back exactly.
TEST_P(RoundTrip, KeepsValuesOnTheGrid) {
    const Rule rule = GetParam();
    std::vector<float> x(32);
    const int levels = static_cast<int>(rule.levels);
    for (int j = 0; j < 32; ++j)
        x[static_cast<std::size_t>(j)] = 0.25f * static_cast<float>(j % (levels + (rule.minimum ? 1 : 0)));
    if (rule.minimum) {
        for (float& value : x) value -= 1.5f;
        x[31] = 0.25f * static_cast<float>(levels) - 1.5f;
    } else {
        x[31] = -0.25f * static_cast<float>(levels);  // the extreme, on the lowest code
    }
    EXPECT_EQ(unpack_all(pack_weight(*find_format(rule.name), 1, 32, x).weight), x);
}

// No input has undefined behaviour, and finite ones in half's range give finite values.
TEST_P(RoundTrip, TakesAnyInput) {
    const Format& format = *find_format(GetParam().name);
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const float special : {nan, -nan, infinity, -infinity, 3e38f, -3e38f, 1e-45f, -1e-45f, 1e-39f}) {
        std::vector<float> x = random_values(64, 5);
        x[0] = special;
        x[40] = special;
        const OwnedWeight owned = pack_weight(format, 1, 64, x);
        EXPECT_EQ(unpack_all(owned.weight).size(), 64u);
        std::ranges::fill(x, special);
        EXPECT_EQ(unpack_all(pack_weight(format, 1, 64, x).weight).size(), 64u);
    }
    const std::vector<float> zeros(64, 0.0f);
    EXPECT_EQ(unpack_all(pack_weight(format, 1, 64, zeros).weight), zeros);
}

INSTANTIATE_TEST_SUITE_P(Formats, RoundTrip,
                         testing::Values(Rule{"q4_0", 8, 8, false, 1}, Rule{"q5_0", 16, 16, false, 1},
                                         Rule{"q4_1", 15, 15, true, 0}, Rule{"q5_1", 31, 31, true, 0},
                                         Rule{"q8_0", 127, 127, false, 0}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace narae::test
