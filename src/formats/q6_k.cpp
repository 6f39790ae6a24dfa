// Q6_K: 6-bit codes; 256 elements in 16 runs of 16, each with an 8-bit scale. 210 bytes, 6.5625 bits per weight.
//
//   0                       128                   192             208     210
//   | 128 bytes of bits 0..3 | 64 bytes of bits 4, 5 | 16 x i8 scale | d f16 |
//
// Element 128h + 32k + l (k = 0..3): bits 0..3 in byte 64h + 32 (k mod 2) + l, low nibble for k < 2; bits 4 and 5 at bit 2k of
// byte 32h + l of the second part.
//   y = (d * scale) * (code - 32)
#include "formats/block_format.h"

namespace narae {
namespace {

void unpack_block(const BlockQ6K& block, float* values) {
    const float scale = to_float(block.scale);
    for (int j = 0; j < BlockQ6K::kElements; ++j) {
        const int half = j / 128, k = j % 128 / 32, l = j % 32;
        const int low = (block.low[64 * half + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15;
        const int high = (block.high[32 * half + l] >> (2 * k)) & 3;
        values[j] = scale * static_cast<float>(block.scales[j / 16]) * static_cast<float>((low | high << 4) - 32);
    }
}

constexpr Format kFormat = block_format<BlockQ6K, unpack_block>("q6_k", 14);
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
