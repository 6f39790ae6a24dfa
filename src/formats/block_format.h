// Makes a Format out of two functions that handle one block. For the files of this folder.
#pragma once

#include "base/error.h"
#include "formats/format.h"
#include "formats/ggml_blocks.h"

#include <cstring>

namespace narae {

template <class Block, void (*kUnpackBlock)(const Block& block, float* values)>
void unpack_blocks(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    const std::int64_t per_row = weight.in / Block::kElements;
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    NARAE_CHECK(weight.codes().size() >= static_cast<std::size_t>(row_end * per_row) * sizeof(Block), "{}: {} bytes of codes",
                weight.name, weight.codes().size());
    const std::byte* codes = weight.codes().data();
    for (std::int64_t i = row_begin * per_row; i < row_end * per_row; ++i) {
        kUnpackBlock(load_block<Block>(codes + i * static_cast<std::int64_t>(sizeof(Block))), values);
        values += Block::kElements;
    }
}

template <class Block, void (*kPackBlock)(const float* values, Block& block)>
void pack_blocks(const float* values, std::int64_t count, std::byte* codes) {
    NARAE_CHECK(count >= 0 && count % Block::kElements == 0, "{} values", count);
    for (std::int64_t i = 0; i < count; i += Block::kElements) {
        Block block{};
        kPackBlock(values + i, block);
        std::memcpy(codes, &block, sizeof block);
        codes += sizeof block;
    }
}

template <class Block, void (*kUnpackBlock)(const Block&, float*)>
constexpr Format block_format(std::string_view name, std::uint32_t gguf_type) {
    Format format;
    format.name = name;
    format.block = Block::kElements;
    format.block_bytes = sizeof(Block);
    format.gguf_type = gguf_type;
    format.unpack = unpack_blocks<Block, kUnpackBlock>;
    return format;
}

template <class Block, void (*kUnpackBlock)(const Block&, float*), void (*kPackBlock)(const float*, Block&)>
constexpr Format block_format(std::string_view name, std::uint32_t gguf_type) {
    Format format = block_format<Block, kUnpackBlock>(name, gguf_type);
    format.pack = pack_blocks<Block, kPackBlock>;
    return format;
}

// `value` cut to an integer in [0, highest]; a NaN gives 0.
inline int truncate_to_code(float value, int highest) {
    if (!(value > 0.0f)) return 0;
    return value < static_cast<float>(highest) ? static_cast<int>(value) : highest;
}

// Smallest and largest of a block, as the formats with a minimum use them.
struct Range {
    float minimum, maximum;
};
inline Range range_of(const float* values, int count) {
    Range range{values[0], values[0]};
    for (int j = 1; j < count; ++j) {
        if (values[j] < range.minimum) range.minimum = values[j];
        if (values[j] > range.maximum) range.maximum = values[j];
    }
    return range;
}

// The value of largest magnitude with its sign, the first of equals: the one that formats without a minimum map onto their
// lowest code, which has no positive counterpart.
inline float signed_extreme(const float* values, int count) {
    float largest = 0.0f, extreme = 0.0f;
    for (int j = 0; j < count; ++j) {
        const float magnitude = values[j] < 0.0f ? -values[j] : values[j];
        if (magnitude > largest) {
            largest = magnitude;
            extreme = values[j];
        }
    }
    return extreme;
}

// Codes of elements j and j + 16 of a block with 16 bytes of low nibbles and a 32-bit word of fifth bits (zeroed before).
inline void store_five_bits(int first, int second, int j, std::uint8_t* high, std::uint8_t* codes) {
    codes[j] = static_cast<std::uint8_t>((first & 15) | (second & 15) << 4);
    high[j / 8] = static_cast<std::uint8_t>(high[j / 8] | (first >> 4) << (j % 8));
    high[j / 8 + 2] = static_cast<std::uint8_t>(high[j / 8 + 2] | (second >> 4) << (j % 8));
}

inline float inverse_or_zero(float scale) { return scale != 0.0f ? 1.0f / scale : 0.0f; }

}  // namespace narae
