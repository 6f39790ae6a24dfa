// Norms as the papers write them; sums in double, one rounding at the end. The specification that fast kernels are held to.
// Sources: Zhang and Sennrich 2019 (RMSNorm), Ba et al. 2016 (LayerNorm; biased variance).
#pragma once

#include "kernels/backend.h"

#include <cstdint>

namespace narae::kernels::ref {

// rms:   y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i] (+ bias[i])
// layer: y[i] = (x[i] - mean(x)) / sqrt(variance(x) + eps) * weight[i] + bias[i]
// none:  y = x. A weight or bias without data is 1 or 0. y may be x.
void norm(std::int64_t hidden, const float* x, const Norm& norm, float* y);

}  // namespace narae::kernels::ref
