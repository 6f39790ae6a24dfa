// The blocks of ggml's quantized types as they lie in a GGUF file, little-endian and without gaps. The file of each format
// (q4_0.cpp, ...) draws its block and says what the codes mean. Blocks in a file may be unaligned: copy them out
// (load_block) before reading.
// Source: llama.cpp, ggml/src/ggml-common.h and ggml-quants.c.
#pragma once

#include "tensor/scalar.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace narae {

static_assert(std::endian::native == std::endian::little, "packed weights are read as they lie in the file");

struct BlockQ4_0 {
    static constexpr int kElements = 32;
    Half scale;
    std::uint8_t codes[16];  // low nibble: element j, high nibble: element j + 16
};

struct BlockQ4_1 {
    static constexpr int kElements = 32;
    Half scale, minimum;
    std::uint8_t codes[16];
};

struct BlockQ5_0 {
    static constexpr int kElements = 32;
    Half scale;
    std::uint8_t high[4];  // bit j of this 32-bit word: bit 4 of element j's code
    std::uint8_t codes[16];
};

struct BlockQ5_1 {
    static constexpr int kElements = 32;
    Half scale, minimum;
    std::uint8_t high[4];
    std::uint8_t codes[16];
};

struct BlockQ8_0 {
    static constexpr int kElements = 32;
    Half scale;
    std::int8_t codes[32];
};

struct BlockQ2K {
    static constexpr int kElements = 256;
    std::uint8_t scales[16];  // low nibble: scale, high nibble: minimum, of 16 elements each
    std::uint8_t codes[64];
    Half scale, minimum;
};

struct BlockQ3K {
    static constexpr int kElements = 256;
    std::uint8_t high[32];  // bit 2 of the codes
    std::uint8_t codes[64];
    std::uint8_t scales[12];  // sixteen of 6 bits
    Half scale;
};

struct BlockQ4K {
    static constexpr int kElements = 256;
    Half scale, minimum;
    std::uint8_t scales[12];  // eight pairs (scale, minimum) of 6 bits: see scale_pair
    std::uint8_t codes[128];
};

struct BlockQ5K {
    static constexpr int kElements = 256;
    Half scale, minimum;
    std::uint8_t scales[12];
    std::uint8_t high[32];  // bit 4 of the codes
    std::uint8_t codes[128];
};

struct BlockQ6K {
    static constexpr int kElements = 256;
    std::uint8_t low[128];  // bits 0..3 of the codes
    std::uint8_t high[64];  // bits 4 and 5
    std::int8_t scales[16];
    Half scale;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210);

template <class Block>
Block load_block(const std::byte* bytes) {
    Block block;
    std::memcpy(&block, bytes, sizeof block);
    return block;
}

inline std::uint32_t load_u32(const std::uint8_t* bytes) {
    std::uint32_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

struct ScalePair {
    std::uint8_t scale, minimum;  // 0..63
};

// Pair j (0..7) of a Q4_K or Q5_K block's 12 scale bytes. Pairs 0..3 lie in the low six bits of bytes j and j + 4; pairs
// 4..7 have their low four bits in byte j + 4 and their upper two in the top bits of bytes j - 4 and j.
inline ScalePair scale_pair(const std::uint8_t* scales, int j) {
    if (j < 4) return {static_cast<std::uint8_t>(scales[j] & 63), static_cast<std::uint8_t>(scales[j + 4] & 63)};
    return {static_cast<std::uint8_t>((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4),
            static_cast<std::uint8_t>((scales[j + 4] >> 4) | (scales[j] >> 6) << 4)};
}

// Scale j (0..15) of a Q3_K block's 12 scale bytes, -32..31: low four bits in nibbles of bytes 0..7, upper two in bit pairs
// of bytes 8..11.
inline int q3_k_scale(const std::uint8_t* scales, int j) {
    const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
    const int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
    return (low | high << 4) - 32;
}

}  // namespace narae
