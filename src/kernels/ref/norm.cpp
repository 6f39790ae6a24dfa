#include "kernels/ref/norm.h"

#include <cmath>

namespace narae::kernels::ref {

void norm(std::int64_t hidden, const float* x, const Norm& norm, float* y) {
    double mean = 0.0;
    if (norm.kind == NormKind::layer) {
        for (std::int64_t i = 0; i < hidden; ++i) mean += x[i];
        mean /= static_cast<double>(hidden);
    }
    double square = 0.0;
    for (std::int64_t i = 0; i < hidden; ++i) square += (x[i] - mean) * (x[i] - mean);
    const double inverse = norm.kind == NormKind::none
                               ? 1.0
                               : 1.0 / std::sqrt(square / static_cast<double>(hidden) + static_cast<double>(norm.eps));
    const bool scaled = norm.kind != NormKind::none;
    for (std::int64_t i = 0; i < hidden; ++i) {
        const double weight = scaled && norm.weight.data ? norm.weight.as<float>()[i] : 1.0;
        const double bias = scaled && norm.bias.data ? norm.bias.as<float>()[i] : 0.0;
        y[i] = static_cast<float>((x[i] - mean) * inverse * weight + bias);
    }
}

}  // namespace narae::kernels::ref
