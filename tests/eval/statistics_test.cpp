// Statistics on cases computed by hand.
#include "eval/statistics.h"
#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace narae::eval {
namespace {

TEST(Statistics, MeanAndError) {
    // E[x] = 2.5, E[x^2] = 7.5, variance 1.25, error sqrt(1.25 / 3).
    const Estimate e = mean_with_error(std::vector{1.0, 2.0, 3.0, 4.0});
    EXPECT_DOUBLE_EQ(e.value, 2.5);
    EXPECT_DOUBLE_EQ(e.error, std::sqrt(1.25 / 3.0));
    EXPECT_EQ(mean_with_error(std::vector{7.0}).error, 0.0);
    EXPECT_EQ(mean_with_error({}).value, 0.0);
}

TEST(Statistics, Covariance) {
    // E[ab] - E[a] E[b] = (1 * 2 + 2 * 2 + 3 * 5) / 3 - 2 * 3 = 1; over n - 1 = 2.
    EXPECT_DOUBLE_EQ(covariance_of_means(std::vector{1.0, 2.0, 3.0}, std::vector{2.0, 2.0, 5.0}), 0.5);
}

TEST(Statistics, Percentiles) {
    const std::vector<double> x{0.0, 10.0, 20.0, 40.0};
    EXPECT_DOUBLE_EQ(percentile(x, 0.0), 0.0);
    EXPECT_DOUBLE_EQ(percentile(x, 1.0), 40.0);
    EXPECT_DOUBLE_EQ(percentile(x, 0.5), 15.0);
    EXPECT_DOUBLE_EQ(percentile(x, 0.9), 34.0);  // 2.7: 0.3 * 20 + 0.7 * 40
    EXPECT_DOUBLE_EQ(percentile(std::vector{3.0}, 0.3), 3.0);
}

TEST(Statistics, PerplexityOfEqualTokensIsTheirNumber) {
    std::vector<Window> windows(2);
    for (Window& w : windows) {
        w.length = 5;
        w.weight = 5;
    }
    const Perplexity p = perplexity_of(windows, std::vector<double>(8, std::log(50.0)));
    EXPECT_NEAR(p.perplexity.value, 50.0, 1e-12);
    EXPECT_EQ(p.tokens, 8);
    EXPECT_EQ(p.windows, 2);
}

TEST(Statistics, WindowsWeighWhatTheProtocolSays) {
    // Means 1 and 4 with weights 3 and 1: (3 + 4) / 4.
    std::vector<Window> windows(2);
    windows[0].length = 3;
    windows[0].weight = 3.0;
    windows[1].length = 2;
    windows[1].weight = 1.0;
    EXPECT_DOUBLE_EQ(perplexity_of(windows, std::vector{0.5, 1.5, 4.0}).nll.value, 1.75);
}

TEST(Statistics, Divergence) {
    const std::vector<TokenComparison> tokens = {
        {1.0, 1.5, 0.1, 0.2, true}, {2.0, 2.0, 0.3, -0.1, false}, {3.0, 2.5, 0.2, -0.2, true}, {2.0, 2.0, 0.0, 0.1, true}};
    const DivergenceStatistics s = divergence_statistics(tokens);
    EXPECT_EQ(s.tokens, 4);
    EXPECT_DOUBLE_EQ(s.perplexity.value, std::exp(2.0));
    EXPECT_DOUBLE_EQ(s.base_perplexity.value, std::exp(2.0));
    // Variances 0.5 and 0.125, covariance 0.25: wholly correlated.
    EXPECT_DOUBLE_EQ(s.perplexity.error, std::exp(2.0) * std::sqrt(0.5 / 3.0));
    EXPECT_DOUBLE_EQ(s.correlation, 1.0);
    EXPECT_DOUBLE_EQ(s.log_ratio.value, 0.0);
    EXPECT_NEAR(s.log_ratio.error, std::sqrt(0.125 / 3.0), 1e-15);
    EXPECT_DOUBLE_EQ(s.ratio.value, 1.0);
    EXPECT_DOUBLE_EQ(s.divergence.value, 0.15);
    EXPECT_DOUBLE_EQ(s.divergence_percentiles.front().value, 0.3);
    EXPECT_DOUBLE_EQ(s.divergence_percentiles.back().value, 0.0);
    EXPECT_DOUBLE_EQ(s.divergence_percentiles[5].share, 0.5);
    EXPECT_DOUBLE_EQ(s.divergence_percentiles[5].value, 0.15);
    EXPECT_NEAR(s.probability_change.value, 0.0, 1e-17);
    EXPECT_DOUBLE_EQ(s.rms_probability_change.value, std::sqrt(0.025));
    // E[x^4] = 8.5e-4, variance 2.25e-4; the error of a root: half over it.
    EXPECT_NEAR(s.rms_probability_change.error, 0.5 / std::sqrt(0.025) * std::sqrt(2.25e-4 / 3.0), 1e-12);
    EXPECT_DOUBLE_EQ(s.same_most_likely.value, 0.75);
    EXPECT_DOUBLE_EQ(s.same_most_likely.error, std::sqrt(0.75 * 0.25 / 3.0));
}

TEST(Statistics, NothingAndOneToken) {
    EXPECT_EQ(divergence_statistics({}).tokens, 0);
    const std::vector<TokenComparison> one(1);
    const DivergenceStatistics s = divergence_statistics(one);
    EXPECT_EQ(s.perplexity.value, 1.0);
    EXPECT_EQ(s.perplexity.error, 0.0);
    EXPECT_EQ(s.rms_probability_change.error, 0.0);
}

}  // namespace
}  // namespace narae::eval
