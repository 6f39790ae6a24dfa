// Q5_K: 5-bit codes; 256 elements in 8 runs of 32, each with a 6-bit scale and minimum. 176 bytes, 5.5 bits per weight.
//
//   0       2          4                              16                  48                      176
//   | d f16 | dmin f16 | 8 x (6-bit scale, 6-bit minimum) | 32 bytes of bit 4 | 128 bytes of bits 0..3 |
//
// Bits 0..3 lie as in Q4_K; bit 4 of element 32 run + l is bit `run` of byte l.
//   y = (d * scale) * code - dmin * minimum
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ5K& block, float* values) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int run = 0; run < 8; ++run) {
        const ScalePair pair = scale_pair(block.scales, run);
        const float run_scale = scale * static_cast<float>(pair.scale);
        const float run_minimum = minimum * static_cast<float>(pair.minimum);
        const std::uint8_t* codes = block.codes + 32 * (run / 2);
        for (int l = 0; l < 32; ++l) {
            const int low = (codes[l] >> (4 * (run % 2))) & 15;
            const int high = (block.high[l] >> run) & 1;
            values[32 * run + l] = run_scale * static_cast<float>(low | high << 4) - run_minimum;
        }
    }
}

constexpr Format kFormat = block_format<BlockQ5K, unpack_block>("q5_k", 13);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
