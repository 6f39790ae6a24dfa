#include "kernels/ref/linear.h"

#include "base/error.h"
#include "kernels/activation_rounding.h"

#include <algorithm>

namespace narae::kernels::ref {
namespace {

// Eight sums instead of one only so that the tests do not wait.
double dot(std::int64_t count, const double* a, const float* b) {
    double sums[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int j = 0; j < 8; ++j) sums[j] += a[i + j] * static_cast<double>(b[i + j]);
    for (; i < count; ++i) sums[0] += a[i] * static_cast<double>(b[i]);
    double sum = 0.0;
    for (const double part : sums) sum += part;
    return sum;
}

}  // namespace

void seen_activations(std::int64_t in, const float* x, Activations activations, double* seen) {
    if (activations != Activations::int8) {
        std::copy_n(x, in, seen);
        return;
    }
    NARAE_CHECK(in % kActivationBlock == 0, "int8 activations: in is {}", in);
    for (std::int64_t begin = 0; begin < in; begin += kActivationBlock) {
        std::int8_t codes[kActivationBlock];
        const double scale = round_activations(x + begin, codes);
        for (int i = 0; i < kActivationBlock; ++i) seen[begin + i] = codes[i] * scale;
    }
}

void linear(std::int64_t in, std::int64_t out, const double* seen, const float* weights, const float* bias, float* y) {
    for (std::int64_t o = 0; o < out; ++o) {
        const double sum = dot(in, seen, weights + o * in);
        y[o] = static_cast<float>(sum + (bias ? static_cast<double>(bias[o]) : 0.0));
    }
}

}  // namespace narae::kernels::ref
