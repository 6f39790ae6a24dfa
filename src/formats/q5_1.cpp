// Q5_1: 5-bit codes with a scale and a minimum per 32 elements. 24 bytes, 6 bits per weight.
//
//   0      2      4                               8                                 24
//   | d f16 | m f16 | u32, bit j: code j's bit 4 | 16 bytes: bits 0..3 of j | j+16 << 4 |
//
//   y = code * d + m
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ5_1& block, float* values) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    const std::uint32_t high = load_u32(block.high);
    for (int j = 0; j < 16; ++j) {
        const int first = (block.codes[j] & 15) | static_cast<int>((high >> j) & 1u) << 4;
        const int second = (block.codes[j] >> 4) | static_cast<int>((high >> (j + 16)) & 1u) << 4;
        values[j] = static_cast<float>(first) * scale + minimum;
        values[j + 16] = static_cast<float>(second) * scale + minimum;
    }
}

void pack_block(const float* values, BlockQ5_1& block) {
    const Range range = range_of(values, BlockQ5_1::kElements);
    const float scale = (range.maximum - range.minimum) / 31.0f;
    const float inverse = inverse_or_zero(scale);
    block.scale = to_half(scale);
    block.minimum = to_half(range.minimum);
    for (int j = 0; j < 16; ++j) {
        const int first = truncate_to_code((values[j] - range.minimum) * inverse + 0.5f, 31);
        const int second = truncate_to_code((values[j + 16] - range.minimum) * inverse + 0.5f, 31);
        store_five_bits(first, second, j, block.high, block.codes);
    }
}

constexpr Format kFormat = block_format<BlockQ5_1, unpack_block, pack_block>("q5_1", 7);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
