// Q3_K: 3-bit codes; 256 elements in 16 runs of 16, each with a 6-bit signed scale. 110 bytes, 3.4375 bits per weight.
//
//   0                   32               96                     108     110
//   | 32 bytes of bit 2 | 64 bytes of bits 0, 1 | 16 x 6-bit scale | d f16 |
//
// Bits 0 and 1 lie as in Q2_K; bit 2 of element 32k + l (k = 0..7) is bit k of byte l.
//   y = (d * scale) * (code - 4)
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ3K& block, float* values) {
    const float scale = to_float(block.scale);
    for (int j = 0; j < BlockQ3K::kElements; ++j) {
        const int half = j / 128, shift = j % 128 / 32 * 2;
        const int low = (block.codes[32 * half + j % 32] >> shift) & 3;
        const int high = (block.high[j % 32] >> (j / 32)) & 1;
        const float run_scale = scale * static_cast<float>(q3_k_scale(block.scales, j / 16));
        values[j] = run_scale * static_cast<float>((low | high << 2) - 4);
    }
}

constexpr Format kFormat = block_format<BlockQ3K, unpack_block>("q3_k", 11);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
