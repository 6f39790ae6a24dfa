// What is said about numbers of many tokens. Sums are taken in double, in the order of the tokens, so that a result does not
// depend on how the work was cut.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace narae::eval {

// A mean and its standard error, tokens taken as independent: sqrt((E[x^2] - E[x]^2) / (n - 1)), as llama-perplexity prints it.
struct Estimate {
    double value = 0.0, error = 0.0;
};
Estimate mean_with_error(std::span<const double> values);
// Of the means of a and b.
double covariance_of_means(std::span<const double> a, std::span<const double> b);
// Between the order statistics around share x (n - 1), 0 <= share <= 1. `sorted` ascends and is not empty.
double percentile(std::span<const double> sorted, double share);

// One token that counts, seen by the model (Q) and the base.
struct TokenComparison {
    double nll = 0.0, base_nll = 0.0;  // of the token that follows
    double divergence = 0.0;           // of the model's distribution from the base's
    double probability_change = 0.0;   // of the token that follows: model's less base's
    bool same_most_likely = false;
};

struct Percentile {
    double share = 0.0;  // 0 is the minimum, 1 the maximum
    double value = 0.0;
};

// What llama-perplexity --kl-divergence prints. Probabilities are shares of 1, not per cent.
struct DivergenceStatistics {
    std::int64_t tokens = 0;
    Estimate perplexity, base_perplexity, log_ratio, ratio, difference;
    double correlation = 0.0;  // of ln PPL(Q) and ln PPL(base)
    Estimate divergence;
    std::vector<Percentile> divergence_percentiles;  // from the maximum down
    Estimate probability_change, rms_probability_change;
    std::vector<Percentile> probability_percentiles;  // from the maximum down
    Estimate same_most_likely;
};
DivergenceStatistics divergence_statistics(std::span<const TokenComparison> tokens);

}  // namespace narae::eval
