// AWQ's search against AutoAWQ's (tools/oracle/awq.py).
#include "quant/awq.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/scales.h"
#include "quant/dense.h"
#include "quant/made_up.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <cmath>

namespace narae::test {
namespace {

std::vector<float> halves(std::vector<float> values) {
    for (float& value : values) value = rounded_to(DType::f16, value);
    return values;
}

struct Case {
    std::int64_t out, in, group;
    IntRounding rounding;
    std::vector<float> weight, x, x_means;
    std::vector<double> gram;
};

Case case_of(const Json& golden, std::uint64_t number) {
    Case c;
    c.out = golden.at("out");
    c.in = golden.at("columns");
    c.group = golden.at("group");
    c.rounding = {.rule = IntRule::awq, .bits = golden.at("bits")};
    c.weight = halves(numbers(number + 1, c.out * c.in));
    c.x = halves(inputs(number + 100, 400, c.in, -1));
    c.gram = exact_gram(c.x, c.in);
    std::vector<double> sums(static_cast<std::size_t>(c.in));
    for (std::size_t i = 0; i < c.x.size(); ++i) sums[i % sums.size()] += std::fabs(static_cast<double>(c.x[i]));
    for (const double sum : sums) c.x_means.push_back(rounded_to(DType::f16, static_cast<float>(sum / 400.0)));
    return c;
}

// Calls check(golden, case) for each of the three.
template <class Check>
void each_case(Check check) {
    const Json goldens = parse_json(read_text_file(data_file("goldens/awq.json")), "awq.json");
    std::uint64_t number = 0;
    for (const Json& golden : goldens.at("cases")) {
        SCOPED_TRACE(number);
        check(golden, case_of(golden, number++));
    }
    EXPECT_EQ(number, 3u);
}

TEST(Awq, LossesOverTheGridAreTheOriginals) {
    ThreadPool threads(2);
    each_case([&](const Json& golden, const Case& c) {
        const std::array<std::span<const float>, 1> weights = {c.weight};
        const AwqSearch found =
            awq_search(c.x_means, awq_weight_means(weights, c.in, c.group), [&](std::span<const float> scales) {
                std::vector<float> changed = awq_rounded(c.weight, c.in, scales, c.rounding, c.group, threads);
                for (std::size_t i = 0; i < changed.size(); ++i) changed[i] -= c.weight[i];
                return output_square(changed, c.in, c.gram, threads) / static_cast<double>(400 * c.out);
            });
        const auto losses = golden.at("losses").get<std::vector<double>>();
        ASSERT_EQ(found.losses.size(), losses.size());
        for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(found.losses[i], losses[i], 0.005 * losses[i]) << i;
        const double original = losses[golden.at("best").get<std::size_t>()];
        EXPECT_NEAR(found.loss, original, 0.005 * original);
        const std::vector<float> scales =
            awq_scales(c.x_means, awq_weight_means(weights, c.in, c.group), golden.at("best").get<double>() / kAwqGrid);
        EXPECT_EQ(scales, golden.at("scales").get<std::vector<float>>());
    });
}

TEST(Awq, ClippingIsAsGoodAsTheOriginals) {
    ThreadPool threads(2);
    each_case([&](const Json& golden, const Case& c) {
        const auto limits = golden.at("clip").get<std::vector<float>>();
        std::vector<float> ours = c.weight, theirs = c.weight;
        awq_clip(ours, c.in, c.gram, c.rounding, c.group, threads);
        for (std::size_t i = 0; i < theirs.size(); ++i) {
            const float limit = limits[i / static_cast<std::size_t>(c.group)];
            theirs[i] = std::clamp(theirs[i], -limit, limit);
        }
        // Group by group, as the search sees it: a block of the Gram matrix each.
        const std::vector<float> ones(static_cast<std::size_t>(c.in), 1.0f);
        const auto error = [&](const std::vector<float>& clipped) {
            std::vector<double> blocks = c.gram;
            for (std::int64_t i = 0; i < c.in; ++i)
                for (std::int64_t j = 0; j < c.in; ++j)
                    if (i / c.group != j / c.group) blocks[static_cast<std::size_t>(i * c.in + j)] = 0.0;
            std::vector<float> changed = awq_rounded(clipped, c.in, ones, c.rounding, c.group, threads);
            for (std::size_t i = 0; i < changed.size(); ++i) changed[i] -= c.weight[i];
            return output_square(changed, c.in, blocks, threads);
        };
        EXPECT_LE(error(ours), 1.0001 * error(theirs));
        EXPECT_LT(error(ours), error(c.weight));
    });
}

}  // namespace
}  // namespace narae::test
