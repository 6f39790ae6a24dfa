// GGUF's blocks that have no panel kind of their own, taken apart into codes, scales and minimums of runs, so that they share
// one kind with integer products: value = code * scale + minimum, the operations of the format's unpack.
#pragma once

#include "formats/ggml_blocks.h"

#include <cstdint>

namespace narae::kernels::cpu {

// A block of 32 or 256 elements; the runs are of 32 or 16 (all of one block alike).
struct WideBlock {
    std::int8_t codes[256];
    float scales[16], minimums[16];
};

void take_apart(const BlockQ5_1& block, WideBlock& wide);
void take_apart(const BlockQ2K& block, WideBlock& wide);
void take_apart(const BlockQ3K& block, WideBlock& wide);
void take_apart(const BlockQ4K& block, WideBlock& wide);
void take_apart(const BlockQ5K& block, WideBlock& wide);

}  // namespace narae::kernels::cpu
