#include "kernels/ref/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace narae::kernels::ref {

void attend(const float* q, std::int64_t keys, std::int64_t head_dim, const float* k, const float* v,
            const HeadParameters& parameters, float* out) {
    std::vector<double> weights(static_cast<std::size_t>(keys));
    const double cap = parameters.soft_cap;
    for (std::int64_t j = 0; j < keys; ++j) {
        double score = 0.0;
        for (std::int64_t i = 0; i < head_dim; ++i)
            score += static_cast<double>(q[i]) * static_cast<double>(k[j * head_dim + i]);
        score *= static_cast<double>(parameters.scale);
        if (cap > 0.0) score = cap * std::tanh(score / cap);
        score -= static_cast<double>(parameters.alibi_slope) * static_cast<double>(keys - 1 - j);
        weights[static_cast<std::size_t>(j)] = score;
    }
    double largest = *std::ranges::max_element(weights);
    if (parameters.sink) largest = std::max(largest, static_cast<double>(*parameters.sink));
    double sum = parameters.sink ? std::exp(static_cast<double>(*parameters.sink) - largest) : 0.0;
    for (double& weight : weights) {
        weight = std::exp(weight - largest);
        sum += weight;
    }
    for (std::int64_t i = 0; i < head_dim; ++i) {
        double value = 0.0;
        for (std::int64_t j = 0; j < keys; ++j)
            value += weights[static_cast<std::size_t>(j)] * static_cast<double>(v[j * head_dim + i]);
        out[i] = static_cast<float>(value / sum);
    }
}

}  // namespace narae::kernels::ref
