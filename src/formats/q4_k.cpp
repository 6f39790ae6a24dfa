// Q4_K: 4-bit codes; 256 elements in 8 runs of 32, each with a 6-bit scale and minimum. 144 bytes, 4.5 bits per weight.
//
//   0       2          4                              16               144
//   | d f16 | dmin f16 | 8 x (6-bit scale, 6-bit minimum) | 128 code bytes |
//
// Code bytes 32c .. 32c + 31 (c = 0..3) hold run 2c in their low and run 2c + 1 in their high nibbles.
//   y = (d * scale) * code - dmin * minimum
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ4K& block, float* values) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int run = 0; run < 8; ++run) {
        const ScalePair pair = scale_pair(block.scales, run);
        const float run_scale = scale * static_cast<float>(pair.scale);
        const float run_minimum = minimum * static_cast<float>(pair.minimum);
        const std::uint8_t* codes = block.codes + 32 * (run / 2);
        for (int l = 0; l < 32; ++l) {
            const int code = (codes[l] >> (4 * (run % 2))) & 15;
            values[32 * run + l] = run_scale * static_cast<float>(code) - run_minimum;
        }
    }
}

constexpr Format kFormat = block_format<BlockQ4K, unpack_block>("q4_k", 12);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
