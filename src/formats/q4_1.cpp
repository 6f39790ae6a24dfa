// Q4_1: 4-bit codes with a scale and a minimum per 32 elements. 20 bytes, 5 bits per weight.
//
//   0      2      4                                20
//   | d f16 | m f16 | 16 bytes: element j | j+16 << 4 |
//
//   y = code * d + m
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ4_1& block, float* values) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int j = 0; j < 16; ++j) {
        values[j] = static_cast<float>(block.codes[j] & 15) * scale + minimum;
        values[j + 16] = static_cast<float>(block.codes[j] >> 4) * scale + minimum;
    }
}

void pack_block(const float* values, BlockQ4_1& block) {
    const Range range = range_of(values, BlockQ4_1::kElements);
    const float scale = (range.maximum - range.minimum) / 15.0f;
    const float inverse = inverse_or_zero(scale);
    block.scale = to_half(scale);
    block.minimum = to_half(range.minimum);
    for (int j = 0; j < 16; ++j) {
        const int low = truncate_to_code((values[j] - range.minimum) * inverse + 0.5f, 15);
        const int high = truncate_to_code((values[j + 16] - range.minimum) * inverse + 0.5f, 15);
        block.codes[j] = static_cast<std::uint8_t>(low | high << 4);
    }
}

constexpr Format kFormat = block_format<BlockQ4_1, unpack_block, pack_block>("q4_1", 3);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
