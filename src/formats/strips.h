// Strips: how a card's kernels want quantized weights to lie, so that one 16-byte load of a lane is one piece of the A operand
// of mma.m16n8k16, whatever the format. This file is the specification; kernels/cuda packs on the card and must give the
// same bytes.
//
//   strip   16 consecutive rows; the last one of a weight is filled with zeros
//   unit    32 consecutive columns; columns are filled with zeros to whole pieces of 64 (q6: to blocks of 256)
//   lane    4 g + t of the 32 lanes of a warp: g = row mod 8, and h = (row mod 16) / 8 says which of its two rows
//
// In q4 and q8, lane t holds columns 8 t ... 8 t + 7 of a unit: word j = 0, 1 its columns 8 t + 4 j + e, e = 0 ... 3. In q6,
// whose scales are for 16 columns, it holds columns 4 t + e of each of the unit's two halves j. Either way a word pair j is one
// mma of 16 columns, and the activations of its columns are consecutive in memory. i = 2 (e / 2) + h numbers the operand's
// registers.
//
//   q4   codes   nibble i + 4 (e mod 2) of word 2 (unit mod 2) + j of the lane's 16 bytes; 512 bytes for a strip's two units
//        scales  f16 [strip][unit / 2][g][unit mod 2][h]; `minimums` the same, where the format has them
//                value = code * scale + minimum; without minimums (code - 8) * scale
//   q8   codes   byte e of word 2 j + h of the lane's 16 bytes; 512 bytes a unit
//        scales  f16 [strip][unit][g][h];  value = code * scale
//   q6   codes   low bits as q4's nibbles; then (own array) bits 4 and 5 of a code as 2 bits of the lane's word of its unit:
//                bits 2 (i + 4 j) + 16 (e mod 2); [strip][unit / 2][lane][unit mod 2]
//        scales  i8 [strip][unit / 2][g][2 (unit mod 2) + j][h], and a f16 for 256 columns [strip][column / 256][g][h]
//                value = (code - 32) * scale of 16 * scale of 256
#pragma once

#include "formats/format.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace narae {

inline constexpr int kStripRows = 16, kUnitColumns = 32;

enum class StripKind : std::uint8_t { q4, q4_minimum, q8, q6 };

// The kind that holds a format's codes unchanged; none: the format has no strips.
std::optional<StripKind> strip_kind_of(const Format& format);

// Sizes and places of one weight's strips. Every array begins at a multiple of 256 bytes of one piece of memory.
struct StripLayout {
    StripKind kind = StripKind::q4;
    std::int64_t rows = 0, columns = 0;                                             // of the weight
    std::int64_t strips = 0, units = 0;                                             // filled up
    std::uint64_t codes = 0, high = 0, scales = 0, minimums = 0, block_scales = 0;  // offsets; equal to the end where absent
    std::uint64_t bytes = 0;
};
StripLayout strip_layout(StripKind kind, std::int64_t rows, std::int64_t columns);

// ---- where things are, from the beginning of their array ----

constexpr std::int64_t strip_lane(std::int64_t row, int t) { return 4 * (row % 8) + t; }

// Index of the 32-bit word with the codes of columns 8 t + 4 j ... (q4), 4 t ... of half j (q6).
constexpr std::int64_t q4_word(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t lane, int j) {
    return ((strip * (units / 2) + unit / 2) * 32 + lane) * 4 + unit % 2 * 2 + j;
}
constexpr std::int64_t q4_scale(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t g, std::int64_t h) {
    return (((strip * (units / 2) + unit / 2) * 8 + g) * 2 + unit % 2) * 2 + h;
}
constexpr std::int64_t q8_word(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t lane, int j,
                               std::int64_t h) {
    return ((strip * units + unit) * 32 + lane) * 4 + 2 * j + h;
}
constexpr std::int64_t q8_scale(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t g, std::int64_t h) {
    return ((strip * units + unit) * 8 + g) * 2 + h;
}
constexpr std::int64_t q6_high_word(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t lane) {
    return ((strip * (units / 2) + unit / 2) * 32 + lane) * 2 + unit % 2;
}
constexpr std::int64_t q6_scale(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t g, int j,
                                std::int64_t h) {
    return (((strip * (units / 2) + unit / 2) * 8 + g) * 4 + unit % 2 * 2 + j) * 2 + h;
}
constexpr std::int64_t q6_block_scale(std::int64_t units, std::int64_t strip, std::int64_t unit, std::int64_t g,
                                      std::int64_t h) {
    return ((strip * (units / 8) + unit / 8) * 8 + g) * 2 + h;
}

// ---- the specification ----

// The order of the rows of q and k in which a lane's two rows, 8 apart, are two components of a head that rotate together.
// The identity for rotary_dim 0.
struct HeadOrder {
    int head_dim = 0, rotary_dim = 0;  // multiples of 16
    bool interleaved = false;          // components (2i, 2i + 1) rotate together; otherwise (i, i + rotary_dim / 2)

    constexpr int place(int row) const {
        if (rotary_dim == 0) return row;
        const int component = row % head_dim;
        if (component >= rotary_dim) return row;
        const int half = rotary_dim / 2, i = interleaved ? component / 2 : component % half;
        const int second = interleaved ? component % 2 : component / half;
        return row - component + i / 8 * 16 + 8 * second + i % 8;
    }
    // The row that lies at a place.
    constexpr int row(int place) const {
        if (rotary_dim == 0) return place;
        const int at = place % head_dim;
        if (at >= rotary_dim) return place;
        const int i = at / 16 * 8 + at % 8, second = at % 16 / 8;
        return place - at + (interleaved ? 2 * i + second : i + second * (rotary_dim / 2));
    }
};

// Which row of the strips a row of a part becomes: parts one after the other, or two by turns of eight rows (gate and up), so
// that a lane's two rows are a gate and its up.
struct StripPlace {
    std::int64_t first = 0;    // rows of the parts before
    bool interleaved = false;  // then `first` is 0 for the gate and 8 for the up
    HeadOrder heads = {};      // of this part
    constexpr std::int64_t row(std::int64_t r) const {
        return interleaved ? r / 8 * 16 + first + r % 8 : first + heads.place(static_cast<int>(r));
    }
};

// Puts the rows of a part into `memory` (layout.bytes; zero where nothing was put yet).
void pack_strips(const PackedWeight& part, const StripLayout& layout, StripPlace place, std::span<std::byte> memory);
// One value.
float strip_value(const StripLayout& layout, std::span<const std::byte> memory, std::int64_t row, std::int64_t column);

}  // namespace narae
