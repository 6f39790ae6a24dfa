#include "formats/microscaling.h"

#include "formats/scales.h"
#include "tensor/scalar.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace narae {

float microscaling_scale(DType model, float largest, int largest_exponent) {
    constexpr int kLowest = 0, kHighest = 254;  // of E8M0
    const float magnitude = rounded_to(model, largest);
    // float16 has no exponent for its subnormals: they count as zero.
    int code = kLowest;
    if (magnitude >= (model == DType::f16 ? 0x1p-14f : 0x1p-126f)) {
        const auto bits = std::bit_cast<std::uint32_t>(magnitude);
        code = static_cast<int>((bits + (1u << 21)) >> 23) - largest_exponent;  // one more from mantissa 1.75 on
    }
    const float scale = float8_e8m0_to_float(static_cast<std::uint8_t>(std::clamp(code, kLowest, kHighest)));
    return rounded_to(model, scale) == 0.0f ? 1.0f : scale;
}

}  // namespace narae
