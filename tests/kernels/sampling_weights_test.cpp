#include "kernels/sampling_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace narae::kernels {
namespace {

std::vector<float> exponents() {
    std::vector<float> all = {0.0f,
                              -0.0f,
                              -0.5f,
                              -1.5f,
                              -2.5f,
                              -40.4f,
                              -40.6f,
                              -63.9f,
                              -64.0f,
                              -64.1f,
                              -1e10f,
                              -std::numeric_limits<float>::max(),
                              -std::numeric_limits<float>::infinity(),
                              -1e-45f,
                              -1e-30f};
    std::mt19937_64 random(3);
    for (int i = 0; i < 20000; ++i) all.push_back(-static_cast<float>(random() % (std::uint64_t{45} << 32)) * 0x1p-32f);
    return all;
}

std::vector<std::uint64_t> weights_of(const WeightKernels& kernels, const std::vector<float>& y) {
    std::vector<std::uint64_t> weights(y.size() + 1, 0xaaaaaaaaaaaaaaaau);
    std::uint64_t sum = kernels.weigh({0.0f, 1.0f}, y.data(), y.size(), weights.data());
    EXPECT_EQ(weights.back(), 0xaaaaaaaaaaaaaaaau);
    weights.pop_back();
    for (const std::uint64_t weight : weights) sum -= weight;
    EXPECT_EQ(sum, 0u);
    return weights;
}

TEST(SamplingWeights, AreTwoToTheExponent) {
    const std::vector<float> y = exponents();
    const std::vector<std::uint64_t> weights = weights_of(kWeightKernelsGeneric, y);
    for (std::size_t i = 0; i < y.size(); ++i) {
        const double exact = std::exp2(static_cast<double>(y[i])) * 0x1p40;
        EXPECT_NEAR(static_cast<double>(weights[i]), exact, exact * 1.7 * 0x1p-24 + 1.0) << y[i];  // + 1: truncation
    }
    EXPECT_EQ(weights[0], std::uint64_t{1} << 40);
    EXPECT_EQ(weights[1], std::uint64_t{1} << 40);
    EXPECT_EQ(weights[12], 0u);
}

TEST(SamplingWeights, AreTheSameBitsForEveryInstructionSet) {
    const std::vector<float> y = exponents();
    const std::vector<std::uint64_t> expected = weights_of(kWeightKernelsGeneric, y);
    for (const WeightKernels* kernels : weight_kernels()) EXPECT_EQ(weights_of(*kernels, y), expected);
}

TEST(SamplingWeights, EveryLengthIsCovered) {
    for (const WeightKernels* kernels : weight_kernels())
        for (std::size_t count = 0; count < 70; ++count) {
            std::vector<float> logits(count);
            for (std::size_t i = 0; i < count; ++i) logits[i] = -static_cast<float>(i % 7);
            const std::vector<std::uint64_t> weights = weights_of(*kernels, logits);
            for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(weights[i], (std::uint64_t{1} << 40) >> (i % 7));
            for (std::size_t at = 0; at < count; ++at) {
                std::vector<float> peak = logits;
                peak[at] = 3.0f;
                EXPECT_EQ(kernels->extent(peak.data(), count).max, 3.0f);
                EXPECT_TRUE(kernels->extent(peak.data(), count).finite);
                peak[at] = std::numeric_limits<float>::quiet_NaN();
                EXPECT_FALSE(kernels->extent(peak.data(), count).finite);
                peak[at] = -std::numeric_limits<float>::infinity();
                EXPECT_TRUE(kernels->extent(peak.data(), count).finite);
            }
        }
}

}  // namespace
}  // namespace narae::kernels
