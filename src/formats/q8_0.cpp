// Q8_0: 8-bit codes with one scale per 32 elements. 34 bytes, 8.5 bits per weight.
//
//   0      2              34
//   | d f16 | 32 x i8 code |
//
//   y = code * d
#include "formats/block_format.h"

#include <algorithm>
#include <cmath>

namespace narae {
namespace {

void unpack_block(const BlockQ8_0& block, float* values) {
    const float scale = to_float(block.scale);
    for (int j = 0; j < BlockQ8_0::kElements; ++j) values[j] = static_cast<float>(block.codes[j]) * scale;
}

// Halves round away from zero; the codes are chosen with the unrounded scale.
void pack_block(const float* values, BlockQ8_0& block) {
    const float scale = std::fabs(signed_extreme(values, BlockQ8_0::kElements)) / 127.0f;
    const float inverse = inverse_or_zero(scale);
    block.scale = to_half(scale);
    for (int j = 0; j < BlockQ8_0::kElements; ++j) {
        const float code = std::round(values[j] * inverse);
        block.codes[j] = std::isnan(code) ? std::int8_t{0} : static_cast<std::int8_t>(std::clamp(code, -127.0f, 127.0f));
    }
}

constexpr Format kFormat = block_format<BlockQ8_0, unpack_block, pack_block>("q8_0", 8);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
