#include "kernels/cpu/wide_blocks.h"

namespace narae::kernels::cpu {

void take_apart(const BlockQ5_1& block, WideBlock& wide) {
    const std::uint32_t high = load_u32(block.high);
    for (int j = 0; j < 16; ++j) {
        wide.codes[j] = static_cast<std::int8_t>((block.codes[j] & 15) | (high >> j & 1u) << 4);
        wide.codes[j + 16] = static_cast<std::int8_t>((block.codes[j] >> 4) | (high >> (j + 16) & 1u) << 4);
    }
    wide.scales[0] = to_float(block.scale);
    wide.minimums[0] = to_float(block.minimum);
}

void take_apart(const BlockQ2K& block, WideBlock& wide) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int run = 0; run < 16; ++run) {
        wide.scales[run] = scale * static_cast<float>(block.scales[run] & 15);
        wide.minimums[run] = -(minimum * static_cast<float>(block.scales[run] >> 4));
    }
    for (int j = 0; j < 256; ++j) {
        const int half = j / 128, shift = j % 128 / 32 * 2;
        wide.codes[j] = static_cast<std::int8_t>((block.codes[32 * half + j % 32] >> shift) & 3);
    }
}

void take_apart(const BlockQ3K& block, WideBlock& wide) {
    const float scale = to_float(block.scale);
    for (int run = 0; run < 16; ++run) wide.scales[run] = scale * static_cast<float>(q3_k_scale(block.scales, run));
    for (int j = 0; j < 256; ++j) {
        const int half = j / 128, shift = j % 128 / 32 * 2;
        const int low = (block.codes[32 * half + j % 32] >> shift) & 3, high = (block.high[j % 32] >> (j / 32)) & 1;
        wide.codes[j] = static_cast<std::int8_t>((low | high << 2) - 4);
    }
}

namespace {

template <class Block>
void scale_pairs(const Block& block, WideBlock& wide) {
    const float scale = to_float(block.scale), minimum = to_float(block.minimum);
    for (int run = 0; run < 8; ++run) {
        const ScalePair pair = scale_pair(block.scales, run);
        wide.scales[run] = scale * static_cast<float>(pair.scale);
        wide.minimums[run] = -(minimum * static_cast<float>(pair.minimum));
    }
}

}  // namespace

void take_apart(const BlockQ4K& block, WideBlock& wide) {
    scale_pairs(block, wide);
    for (int j = 0; j < 256; ++j)
        wide.codes[j] = static_cast<std::int8_t>((block.codes[32 * (j / 64) + j % 32] >> (4 * (j / 32 % 2))) & 15);
}

void take_apart(const BlockQ5K& block, WideBlock& wide) {
    scale_pairs(block, wide);
    for (int j = 0; j < 256; ++j) {
        const int low = (block.codes[32 * (j / 64) + j % 32] >> (4 * (j / 32 % 2))) & 15;
        wide.codes[j] = static_cast<std::int8_t>(low | ((block.high[j % 32] >> (j / 32)) & 1) << 4);
    }
}

}  // namespace narae::kernels::cpu
