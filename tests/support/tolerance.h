// How far a kernel's result may lie from the reference: computed from types and norms, never tuned. Every bound is derived
// beside its formula.
#pragma once

#include "kernels/backend.h"
#include "support/random_weights.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace narae::test {

inline constexpr double kUnit = 0x1p-24;  // half an ulp of f32, relative

// Rounding errors of a sum of n products, each relative error below kUnit and independent: the partial sums are at most
// |x| |w| (Cauchy), so n additions err by about sqrt(n) kUnit |x| |w| in any order; the products, scales and the last
// rounding add a few.
double sum_tolerance(std::int64_t n, double x_norm, double w_norm);

double norm_of(const float* values, std::int64_t count);

// A weight's values, and for every row bounds of what enters its products. A block format's value is scale x code (+ minimum):
// its parts are at most three times the block's largest value, hence `magnitude`, the norm of a row whose elements are all
// three times their block's largest; for dense formats it is the row's norm.
struct KnownWeight {
    OwnedWeight packed;
    std::vector<float> values;                     // [out, in]
    std::vector<double> magnitude, norm, largest;  // [out]
};
KnownWeight known_weight(const Format& format, std::int64_t out, std::int64_t in, std::uint64_t seed);

// Of one row of activations that enters products, with the error that it already has.
struct KnownInput {
    std::vector<float> values;
    std::vector<double> errors;
    double norm = 0.0, error_norm = 0.0, largest_error = 0.0;
};
KnownInput exact_input(std::span<const float> values);
// norm(x) by the reference, and the error that an f32 computation of it may have.
KnownInput normed_input(std::span<const float> x, const kernels::Norm& norm);

struct KnownOutput {
    std::vector<float> values;
    std::vector<double> errors;
};
// W x + b of one row by the reference (double precision) and the error that f32 may have; with int8 activations also the error
// of codes that fall to the other side because the input was not exact.
KnownOutput known_product(const KnownInput& x, const KnownWeight& weight, const float* bias, kernels::Activations activations);

// |found - expected| <= tolerance for all, or one failure naming the worst element.
void expect_close(std::span<const float> found, std::span<const float> expected, std::span<const double> tolerance,
                  std::string_view what);
void expect_same_bits(std::span<const float> found, std::span<const float> expected, std::string_view what);

}  // namespace narae::test
