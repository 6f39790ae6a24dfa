#include "eval/statistics.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>

namespace narae::eval {
namespace {

// exp of a mean of logarithms, with its error to first order.
Estimate exponential(const Estimate& log) {
    const double value = std::exp(log.value);
    return {value, value * log.error};
}

// The error of a - b with their errors and covariance; rounding may bring the square below 0.
double difference_error(double a, double b, double covariance) {
    return std::sqrt(std::max(0.0, a * a + b * b - 2.0 * covariance));
}

template <class Member>
std::vector<double> column(std::span<const TokenComparison> tokens, Member member) {
    std::vector<double> values;
    values.reserve(tokens.size());
    for (const TokenComparison& token : tokens) values.push_back(member(token));
    return values;
}

std::vector<Percentile> percentiles(std::vector<double> values, std::initializer_list<double> shares) {
    std::ranges::sort(values);
    std::vector<Percentile> result;
    for (const double share : shares) result.push_back({share, percentile(values, share)});
    return result;
}

}  // namespace

Estimate mean_with_error(std::span<const double> values) {
    if (values.empty()) return {};
    double sum = 0.0, squares = 0.0;
    for (const double value : values) {
        sum += value;
        squares += value * value;
    }
    const auto count = static_cast<double>(values.size());
    const double mean = sum / count, variance = squares / count - mean * mean;
    return {mean, values.size() > 1 && variance > 0.0 ? std::sqrt(variance / (count - 1.0)) : 0.0};
}

double covariance_of_means(std::span<const double> a, std::span<const double> b) {
    NARAE_CHECK(a.size() == b.size(), "{} and {} values", a.size(), b.size());
    if (a.size() < 2) return 0.0;
    double sum_a = 0.0, sum_b = 0.0, products = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        sum_a += a[i];
        sum_b += b[i];
        products += a[i] * b[i];
    }
    const auto count = static_cast<double>(a.size());
    return (products / count - (sum_a / count) * (sum_b / count)) / (count - 1.0);
}

double percentile(std::span<const double> sorted, double share) {
    NARAE_CHECK(!sorted.empty(), "a percentile of nothing");
    const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    const double part = at - static_cast<double>(below);
    return (1.0 - part) * sorted[below] + part * sorted[above];
}

DivergenceStatistics divergence_statistics(std::span<const TokenComparison> tokens) {
    DivergenceStatistics s;
    s.tokens = static_cast<std::int64_t>(tokens.size());
    if (tokens.empty()) return s;
    const std::vector<double> nll = column(tokens, [](const auto& t) { return t.nll; });
    const std::vector<double> base = column(tokens, [](const auto& t) { return t.base_nll; });
    const std::vector<double> divergence = column(tokens, [](const auto& t) { return t.divergence; });
    const std::vector<double> change = column(tokens, [](const auto& t) { return t.probability_change; });
    const std::vector<double> squares =
        column(tokens, [](const auto& t) { return t.probability_change * t.probability_change; });

    const Estimate log = mean_with_error(nll), log_base = mean_with_error(base);
    const double covariance = covariance_of_means(nll, base);
    s.perplexity = exponential(log);
    s.base_perplexity = exponential(log_base);
    s.correlation = log.error > 0.0 && log_base.error > 0.0 ? covariance / (log.error * log_base.error) : 0.0;
    s.log_ratio = {log.value - log_base.value, difference_error(log.error, log_base.error, covariance)};
    s.ratio = exponential(s.log_ratio);
    s.difference = {s.perplexity.value - s.base_perplexity.value,
                    difference_error(s.perplexity.error, s.base_perplexity.error,
                                     s.perplexity.value * s.base_perplexity.value * covariance)};

    s.divergence = mean_with_error(divergence);
    s.divergence_percentiles = percentiles(divergence, {1.0, 0.999, 0.99, 0.95, 0.9, 0.5, 0.1, 0.05, 0.01, 0.001, 0.0});
    s.probability_change = mean_with_error(change);
    s.probability_percentiles =
        percentiles(change, {1.0, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 0.0});
    const Estimate square = mean_with_error(squares);
    const double rms = std::sqrt(square.value);
    s.rms_probability_change = {rms, rms > 0.0 ? 0.5 / rms * square.error : 0.0};
    const auto same = static_cast<double>(std::ranges::count_if(tokens, [](const auto& t) { return t.same_most_likely; }));
    const double share = same / static_cast<double>(tokens.size());
    s.same_most_likely = {share,
                          tokens.size() > 1 ? std::sqrt(share * (1.0 - share) / static_cast<double>(tokens.size() - 1)) : 0.0};
    return s;
}

}  // namespace narae::eval
