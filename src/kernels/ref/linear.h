// y = W x + b with the sums in double: the specification of every product with packed weights.
#pragma once

#include "kernels/backend.h"

#include <cstdint>

namespace narae::kernels::ref {

// The activations that a product sees, exactly: x itself for f32, code * scale for int8 (kernels/activation_rounding.h).
void seen_activations(std::int64_t in, const float* x, Activations activations, double* seen);

// y[o] = sum over i of seen[i] * weights[o, i], plus bias[o] unless it is null; rounded to f32 once.
void linear(std::int64_t in, std::int64_t out, const double* seen, const float* weights, const float* bias, float* y);

}  // namespace narae::kernels::ref
