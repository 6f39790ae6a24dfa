// Vector loops against double arithmetic, and every instruction set against the others.
#include "eval/vocabulary_sums.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace narae::eval {
namespace {

std::vector<float> random_logits(std::size_t count, float deviation, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> logits(count);
    for (float& x : logits) x = normal(random);
    return logits;
}

double log_sum_exp(std::span<const float> x) {
    const double max = *std::ranges::max_element(x);
    double sum = 0.0;
    for (const float value : x) sum += std::exp(static_cast<double>(value) - max);
    return max + std::log(sum);
}

double divergence(std::span<const float> p, std::span<const float> q) {
    const double lp = log_sum_exp(p), lq = log_sum_exp(q);
    double sum = 0.0;
    for (std::size_t i = 0; i < p.size(); ++i)
        sum += std::exp(static_cast<double>(p[i]) - lp) * (static_cast<double>(p[i]) - lp - static_cast<double>(q[i]) + lq);
    return sum;
}

// A term is off by at most 4 ulp (range reduction, polynomial, power); a block's sum of 16 additions by 16 more.
constexpr double kRelative = 20.0 * std::numeric_limits<float>::epsilon();

TEST(VocabularySums, AreSoftmaxes) {
    for (const std::size_t count : {1u, 2u, 15u, 16u, 17u, 255u, 256u, 257u, 49152u, 50257u}) {
        for (const float deviation : {0.01f, 3.0f, 40.0f}) {
            const std::vector<float> x = random_logits(count, deviation, 1);
            const RowSums sums = sum_row(x);
            EXPECT_NEAR(sums.log_sum_exp(), log_sum_exp(x), kRelative) << count << " " << deviation;
            EXPECT_EQ(sums.max, *std::ranges::max_element(x));
            EXPECT_EQ(sums.min, *std::ranges::min_element(x));
            EXPECT_EQ(sums.most_likely, std::ranges::max_element(x) - x.begin());
        }
    }
}

TEST(VocabularySums, Divergence) {
    for (const std::size_t count : {1u, 17u, 256u, 1001u, 49152u}) {
        const std::vector<float> p = random_logits(count, 4.0f, 2), noise = random_logits(count, 0.2f, 3);
        std::vector<float> q = p;
        for (std::size_t i = 0; i < count; ++i) q[i] += noise[i];
        const RowSums ps = sum_row(p), qs = sum_row(q);
        // The terms of p (p - q) and both logarithms carry the relative error of a sum.
        const double bound = 3.0 * kRelative;
        EXPECT_NEAR(kl_divergence(p, ps, q, qs), divergence(p, q), bound) << count;
        EXPECT_EQ(kl_divergence(p, ps, p, ps), 0.0) << count;
    }
}

TEST(VocabularySums, DivergenceOfCodesLeavesOutWhatIsUnlikely) {
    const std::size_t count = 1003;
    const std::vector<float> q = random_logits(count, 4.0f, 5);
    std::mt19937 random(6);
    std::vector<std::uint16_t> codes(count);
    for (auto& code : codes) code = static_cast<std::uint16_t>(random());
    const float scale = 16.0f / 65535.0f, least = -18.0f;
    const double lq = log_sum_exp(q);
    double expected = 0.0, mass = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        const float log_p = scale * static_cast<float>(codes[i]) + least;
        if (!(log_p > -16.0f)) continue;
        expected += std::exp(static_cast<double>(log_p)) * (static_cast<double>(log_p) - static_cast<double>(q[i]) + lq);
        mass += std::exp(static_cast<double>(log_p)) * 40.0;
    }
    EXPECT_NEAR(kl_divergence_of_codes(codes, scale, least, q, sum_row(q)), expected, mass * kRelative);
}

TEST(VocabularySums, EveryInstructionSetGivesTheSameBits) {
    const auto all = vocabulary_kernels();
    for (const std::size_t count : {1u, 16u, 31u, 300u, 5003u}) {
        const std::vector<float> p = random_logits(count, 5.0f, 7), q = random_logits(count, 5.0f, 8);
        std::vector<std::uint16_t> codes(count);
        std::iota(codes.begin(), codes.end(), std::uint16_t{50000});
        const float max = *std::ranges::max_element(p);
        for (const VocabularyKernels* kernels : all) {
            EXPECT_EQ(kernels->sum_exp(p.data(), count, max), all[0]->sum_exp(p.data(), count, max)) << kernels->name;
            EXPECT_EQ(kernels->weighted_difference(p.data(), q.data(), count, max),
                      all[0]->weighted_difference(p.data(), q.data(), count, max))
                << kernels->name;
            EXPECT_EQ(kernels->codes_divergence(codes.data(), count, 1e-4f, -12.0f, q.data(), 3.0f),
                      all[0]->codes_divergence(codes.data(), count, 1e-4f, -12.0f, q.data(), 3.0f))
                << kernels->name;
        }
    }
}

TEST(VocabularySums, NumbersThatAreNoneAreAnError) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
        for (const std::size_t at : {0u, 20u, 32u}) {
            std::vector<float> x(33, 1.0f);
            x[at] = bad;
            EXPECT_THROW(sum_row(x), InternalError);
        }
    }
}

}  // namespace
}  // namespace narae::eval
