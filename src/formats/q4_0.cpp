// Q4_0: 4-bit codes with one scale per 32 elements, no minimum. 18 bytes, 4.5 bits per weight.
//
//   0      2                                18
//   | d f16 | 16 bytes: element j | j+16 << 4 |
//
//   y = (code - 8) * d
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ4_0& block, float* values) {
    const float scale = to_float(block.scale);
    for (int j = 0; j < 16; ++j) {
        values[j] = static_cast<float>((block.codes[j] & 15) - 8) * scale;
        values[j + 16] = static_cast<float>((block.codes[j] >> 4) - 8) * scale;
    }
}

// The codes are chosen with the unrounded scale.
void pack_block(const float* values, BlockQ4_0& block) {
    const float scale = signed_extreme(values, BlockQ4_0::kElements) / -8.0f;
    const float inverse = inverse_or_zero(scale);
    block.scale = to_half(scale);
    for (int j = 0; j < 16; ++j) {
        const int low = truncate_to_code(values[j] * inverse + 8.5f, 15);
        const int high = truncate_to_code(values[j + 16] * inverse + 8.5f, 15);
        block.codes[j] = static_cast<std::uint8_t>(low | high << 4);
    }
}

constexpr Format kFormat = block_format<BlockQ4_0, unpack_block, pack_block>("q4_0", 2);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
