#include "kernels/ref/activation.h"

#include "base/error.h"

#include <cmath>
#include <numbers>

namespace narae::kernels::ref {

double activate(Activation activation, double x) {
    switch (activation) {
        case Activation::silu:
            return x / (1.0 + std::exp(-x));
        case Activation::gelu_erf:
            return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
        case Activation::gelu_tanh:
            return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
        case Activation::quick_gelu:
            return x / (1.0 + std::exp(-1.702 * x));
        case Activation::relu:
            return x > 0.0 || std::isnan(x) ? x : 0.0;
    }
    NARAE_CHECK(false, "activation {}", static_cast<int>(activation));
}

}  // namespace narae::kernels::ref
