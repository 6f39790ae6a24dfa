#include "support/tolerance.h"

#include "base/error.h"
#include "formats/strips.h"
#include "kernels/activation_rounding.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace narae::test {
namespace {

using kernels::Activations;
using kernels::kActivationBlock;
using kernels::Norm;
using kernels::NormKind;

double norm_of(std::span<const double> values) {
    double sum = 0.0;
    for (const double value : values) sum += value * value;
    return std::sqrt(sum);
}

// What codes that round to the other side can change. A code is round(x / scale); x and the scale err by at most `e` =
// error of x + largest error of the block, so that a code flips with probability 2 e / scale, and moves its product by scale
// |w|. The number of flips is binomial: its mean plus four deviations plus four is not passed in these tests' number of rows.
double flip_error(const KnownInput& x, double largest_weight) {
    double mean = 0.0, largest_scale = 0.0;
    for (std::size_t begin = 0; begin < x.values.size(); begin += kActivationBlock) {
        double scale = 0.0, error = 0.0;
        for (std::size_t i = begin; i < begin + kActivationBlock; ++i) {
            scale = std::max(scale, std::abs(static_cast<double>(x.values[i])) / 127.0);
            error = std::max(error, x.errors[i]);
        }
        for (std::size_t i = begin; i < begin + kActivationBlock; ++i)
            if (scale > 0.0) mean += std::min(1.0, 2.0 * (x.errors[i] + error) / scale);
        largest_scale = std::max(largest_scale, scale);
    }
    return mean == 0.0 ? 0.0 : (mean + 4.0 * std::sqrt(mean) + 4.0) * largest_scale * largest_weight;
}

}  // namespace

double norm_of(const float* values, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return std::sqrt(sum);
}

double sum_tolerance(std::int64_t n, double x_norm, double w_norm) {
    return (4.0 + std::sqrt(static_cast<double>(n))) * kUnit * x_norm * w_norm;
}

KnownWeight known_weight(const Format& format, std::int64_t out, std::int64_t in, std::uint64_t seed) {
    KnownWeight known;
    known.packed = random_weight(format, out, in, seed, seed % 2 == 0 ? 0 : 32);
    known.values = unpack_all(known.packed.weight);
    const std::int64_t block = format.dtype ? 1 : format.block;
    for (std::int64_t o = 0; o < out; ++o) {
        const float* row = &known.values[static_cast<std::size_t>(o * in)];
        double squares = 0.0, largest = 0.0;
        for (std::int64_t begin = 0; begin < in; begin += block) {
            double of_block = 0.0;
            for (std::int64_t i = begin; i < begin + block; ++i)
                of_block = std::max(of_block, std::abs(static_cast<double>(row[i])));
            largest = std::max(largest, of_block);
            squares += static_cast<double>(block) * of_block * of_block * (format.dtype ? 1.0 : 9.0);
        }
        known.magnitude.push_back(std::sqrt(squares));
        known.norm.push_back(norm_of(row, in));
        known.largest.push_back(largest);
    }
    return known;
}

KnownInput exact_input(std::span<const float> values) {
    KnownInput input;
    input.values.assign(values.begin(), values.end());
    input.errors.assign(values.size(), 0.0);
    input.norm = norm_of(values.data(), static_cast<std::int64_t>(values.size()));
    return input;
}

// With m = sqrt(mean x^2), s = sqrt(variance + eps) (rms: sqrt(mean x^2 + eps)): the mean errs by (3 + sqrt n) u m, and so does
// every x - mean. The variance errs by (4 + sqrt n) u of itself, by twice the mean's error over s, and 1 / s by half of that
// and a few roundings more. The result errs by weight / s times the first, and by the second, relatively.
KnownInput normed_input(std::span<const float> x, const Norm& norm) {
    if (norm.kind == NormKind::none) return exact_input(x);
    const auto hidden = static_cast<std::int64_t>(x.size());
    const double n = static_cast<double>(hidden);
    KnownInput input;
    input.values.resize(x.size());
    kernels::ref::norm(hidden, x.data(), norm, input.values.data());
    double mean = 0.0, squares = 0.0;
    if (norm.kind == NormKind::layer)
        for (const float value : x) mean += static_cast<double>(value) / n;
    for (const float value : x) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
    const double s = std::sqrt(squares / n + static_cast<double>(norm.eps));
    const double centre =
        norm.kind == NormKind::layer ? (3.0 + std::sqrt(n)) * kUnit * norm_of(x.data(), hidden) / std::sqrt(n) : 0.0;
    const double relative = 0.5 * ((4.0 + std::sqrt(n)) * kUnit + 2.0 * centre / s) + 6.0 * kUnit;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double weight = norm.weight.data ? std::abs(static_cast<double>(norm.weight.as<float>()[i])) : 1.0;
        const double bias = norm.bias.data ? static_cast<double>(norm.bias.as<float>()[i]) : 0.0;
        const double y = input.values[i];
        input.errors.push_back(weight / s * centre + std::abs(y - bias) * relative +
                               2.0 * kUnit * (std::abs(y) + std::abs(bias)));
    }
    input.norm = norm_of(input.values.data(), hidden);
    input.error_norm = norm_of(input.errors);
    input.largest_error = *std::ranges::max_element(input.errors);
    return input;
}

KnownOutput known_product(const KnownInput& x, const KnownWeight& weight, const float* bias, Activations activations) {
    const auto in = static_cast<std::int64_t>(x.values.size());
    const auto out = static_cast<std::int64_t>(weight.norm.size());
    // Activations of 16 bits: each element is rounded by at most half a step (2^-11 or 2^-8 of itself), before or after a
    // norm's factor. Weights that no kernel holds as they are were rounded to bf16 as well.
    const Format& format = *weight.packed.weight.format;
    const bool as_it_is = strip_kind_of(format) || format.dtype == DType::f16 || format.dtype == DType::bf16;
    double rounding = 0.0;
    if (activations == Activations::f16) rounding = 0x1p-11 * 1.01;
    if (activations == Activations::bf16) rounding = (as_it_is ? 1.0 : 2.0) * 0x1p-8 * 1.01;
    std::vector<double> seen(x.values.size());
    kernels::ref::seen_activations(in, x.values.data(), rounding > 0.0 ? Activations::f32 : activations, seen.data());
    KnownOutput y;
    y.values.resize(weight.norm.size());
    kernels::ref::linear(in, out, seen.data(), weight.values.data(), bias, y.values.data());
    const double seen_norm = norm_of(seen);
    // Rounded to codes, a block's common change of scale moves every element by up to the largest error.
    const double input_error =
        x.error_norm + (activations == Activations::int8 ? std::sqrt(static_cast<double>(in)) * x.largest_error : 0.0);
    for (std::size_t o = 0; o < weight.norm.size(); ++o) {
        double error = sum_tolerance(in, seen_norm, weight.magnitude[o]) + input_error * weight.norm[o];
        error += rounding * seen_norm * weight.norm[o];
        if (activations == Activations::int8) error += flip_error(x, weight.largest[o]);
        if (bias) error += kUnit * (std::abs(static_cast<double>(bias[o])) + std::abs(static_cast<double>(y.values[o])));
        y.errors.push_back(error);
    }
    return y;
}

void expect_close(std::span<const float> found, std::span<const float> expected, std::span<const double> tolerance,
                  std::string_view what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    ASSERT_EQ(found.size(), tolerance.size()) << what;
    std::size_t worst = 0;
    double excess = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double difference = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
        const double share = found[i] == expected[i] ? 0.0 : difference / tolerance[i];
        if (share > excess || std::isnan(share)) {
            worst = i;
            excess = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
        }
    }
    if (excess > 1.0)
        ADD_FAILURE() << what << ": element " << worst << " of " << found.size() << " is " << found[worst] << ", expected "
                      << expected[worst] << " within " << tolerance[worst];
}

void expect_same_bits(std::span<const float> found, std::span<const float> expected, std::string_view what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    for (std::size_t i = 0; i < found.size(); ++i)
        if (std::bit_cast<std::uint32_t>(found[i]) != std::bit_cast<std::uint32_t>(expected[i])) {
            ADD_FAILURE() << what << ": element " << i << " of " << found.size() << " is " << found[i] << ", elsewhere "
                          << expected[i];
            return;
        }
}

}  // namespace narae::test
