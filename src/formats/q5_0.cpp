// Q5_0: 5-bit codes with one scale per 32 elements, no minimum. 22 bytes, 5.5 bits per weight.
//
//   0      2                               6                                 22
//   | d f16 | u32, bit j: code j's bit 4 | 16 bytes: bits 0..3 of j | j+16 << 4 |
//
//   y = (code - 16) * d
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ5_0& block, float* values) {
    const float scale = to_float(block.scale);
    const std::uint32_t high = load_u32(block.high);
    for (int j = 0; j < 16; ++j) {
        const int first = (block.codes[j] & 15) | static_cast<int>((high >> j) & 1u) << 4;
        const int second = (block.codes[j] >> 4) | static_cast<int>((high >> (j + 16)) & 1u) << 4;
        values[j] = static_cast<float>(first - 16) * scale;
        values[j + 16] = static_cast<float>(second - 16) * scale;
    }
}

// The codes are chosen with the unrounded scale.
void pack_block(const float* values, BlockQ5_0& block) {
    const float scale = signed_extreme(values, BlockQ5_0::kElements) / -16.0f;
    const float inverse = inverse_or_zero(scale);
    block.scale = to_half(scale);
    for (int j = 0; j < 16; ++j) {
        const int first = truncate_to_code(values[j] * inverse + 16.5f, 31);
        const int second = truncate_to_code(values[j + 16] * inverse + 16.5f, 31);
        store_five_bits(first, second, j, block.high, block.codes);
    }
}

constexpr Format kFormat = block_format<BlockQ5_0, unpack_block, pack_block>("q5_0", 6);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
