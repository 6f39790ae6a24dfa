// Q2_K: 2-bit codes; 256 elements in 16 runs of 16, each with a 4-bit scale and minimum. 84 bytes, 2.625 bits per weight.
//
//   0                            16              80      82         84
//   | 16 x (scale | minimum << 4) | 64 code bytes | d f16 | dmin f16 |
//
// A half h of 128 elements has code bytes 32h .. 32h + 31; bits 2s, 2s + 1 of byte l hold element 128h + 32s + l.
//   y = (d * scale) * code - dmin * minimum
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ2K& block, float* values) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int j = 0; j < BlockQ2K::kElements; ++j) {
        const int half = j / 128, shift = j % 128 / 32 * 2;
        const int code = (block.codes[32 * half + j % 32] >> shift) & 3;
        const std::uint8_t pair = block.scales[j / 16];
        const float run_scale = scale * static_cast<float>(pair & 15);
        const float run_minimum = minimum * static_cast<float>(pair >> 4);
        values[j] = run_scale * static_cast<float>(code) - run_minimum;
    }
}

constexpr Format kFormat = block_format<BlockQ2K, unpack_block>("q2_k", 10);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
