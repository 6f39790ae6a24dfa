#include "formats/strips.h"

#include "base/error.h"
#include "formats/ggml_blocks.h"
#include "tensor/scalar.h"

#include <cstring>

namespace narae {
namespace {

template <class T>
T load(std::span<const std::byte> memory, std::uint64_t array, std::int64_t index) {
    T value;
    std::memcpy(&value, memory.data() + array + static_cast<std::uint64_t>(index) * sizeof(T), sizeof value);
    return value;
}

template <class T>
void store(std::span<std::byte> memory, std::uint64_t array, std::int64_t index, T value) {
    std::memcpy(memory.data() + array + static_cast<std::uint64_t>(index) * sizeof(T), &value, sizeof value);
}

void or_bits(std::span<std::byte> memory, std::uint64_t array, std::int64_t word, std::uint32_t bits) {
    store(memory, array, word, load<std::uint32_t>(memory, array, word) | bits);
}

// Where a value of a strip is: which lane, which word pair, which register and which half of it.
struct Spot {
    std::int64_t strip, unit, g, h, lane;
    int j, i, e;
};

Spot spot_of(StripKind kind, std::int64_t row, std::int64_t column) {
    Spot s{};
    s.strip = row / kStripRows;
    s.unit = column / kUnitColumns;
    s.g = row % 8;
    s.h = row % kStripRows / 8;
    const auto c = static_cast<int>(column % kUnitColumns);
    const bool halves = kind == StripKind::q6;
    s.lane = strip_lane(row, halves ? c % 16 / 4 : c / 8);
    s.j = halves ? c / 16 : c % 8 / 4;
    s.e = c % 4;
    s.i = 2 * (s.e / 2) + static_cast<int>(s.h);
    return s;
}

void put_q4(const StripLayout& l, std::span<std::byte> memory, const Spot& s, std::uint32_t code) {
    or_bits(memory, l.codes, q4_word(l.units, s.strip, s.unit, s.lane, s.j), code << (4 * (s.i + 4 * (s.e % 2))));
}

std::uint32_t get_q4(const StripLayout& l, std::span<const std::byte> memory, const Spot& s) {
    const auto word = load<std::uint32_t>(memory, l.codes, q4_word(l.units, s.strip, s.unit, s.lane, s.j));
    return word >> (4 * (s.i + 4 * (s.e % 2))) & 15u;
}

std::uint64_t padded(std::int64_t bytes) { return (static_cast<std::uint64_t>(bytes) + 255) / 256 * 256; }

template <class Block>
Block block_of(const PackedWeight& part, std::int64_t row, std::int64_t column) {
    const std::int64_t index = row * (part.in / Block::kElements) + column / Block::kElements;
    return load_block<Block>(part.codes().data() + index * static_cast<std::int64_t>(sizeof(Block)));
}

// Calls visit(place in the strips, source row, column) for every `step`-th column.
template <class Visit>
void each(const PackedWeight& part, const StripLayout& l, StripPlace place, std::int64_t step, Visit visit) {
    for (std::int64_t r = 0; r < part.out; ++r)
        for (std::int64_t c = 0; c < part.in; c += step) visit(spot_of(l.kind, place.row(r), c), r, c);
}

}  // namespace

std::optional<StripKind> strip_kind_of(const Format& format) {
    if (format.name == "q4_0") return StripKind::q4;
    if (format.name == "q4_1") return StripKind::q4_minimum;
    if (format.name == "q8_0") return StripKind::q8;
    if (format.name == "q6_k") return StripKind::q6;
    return std::nullopt;
}

StripLayout strip_layout(StripKind kind, std::int64_t rows, std::int64_t columns) {
    const std::int64_t piece = kind == StripKind::q6 ? 256 : kind == StripKind::q8 ? 32 : 64;
    StripLayout l;
    l.kind = kind;
    l.rows = rows;
    l.columns = columns;
    l.strips = (rows + kStripRows - 1) / kStripRows;
    l.units = (columns + piece - 1) / piece * (piece / kUnitColumns);
    const std::int64_t units = l.strips * l.units;
    const bool q6 = kind == StripKind::q6, q8 = kind == StripKind::q8;
    l.high = l.codes + padded(units * (q8 ? 512 : 256));
    l.scales = l.high + (q6 ? padded(units * 128) : 0);
    l.minimums = l.scales + padded(units * 32);
    l.block_scales = l.minimums + (kind == StripKind::q4_minimum ? padded(units * 32) : 0);
    l.bytes = l.block_scales + (q6 ? padded(units / 8 * 32) : 0);
    return l;
}

void pack_strips(const PackedWeight& part, const StripLayout& l, StripPlace place, std::span<std::byte> memory) {
    NARAE_CHECK(memory.size() >= l.bytes, "{} bytes for strips of {}", memory.size(), l.bytes);
    const auto q4_nibble = [](const std::uint8_t* codes, std::int64_t c) {
        return static_cast<std::uint32_t>(codes[c % 16] >> (c < 16 ? 0 : 4) & 15);
    };
    switch (l.kind) {
        case StripKind::q4:
            each(part, l, place, 1, [&](const Spot& s, std::int64_t r, std::int64_t c) {
                const auto block = block_of<BlockQ4_0>(part, r, c);
                put_q4(l, memory, s, q4_nibble(block.codes, c % 32));
                store(memory, l.scales, q4_scale(l.units, s.strip, s.unit, s.g, s.h), block.scale);
            });
            return;
        case StripKind::q4_minimum:
            each(part, l, place, 1, [&](const Spot& s, std::int64_t r, std::int64_t c) {
                const auto block = block_of<BlockQ4_1>(part, r, c);
                put_q4(l, memory, s, q4_nibble(block.codes, c % 32));
                store(memory, l.scales, q4_scale(l.units, s.strip, s.unit, s.g, s.h), block.scale);
                store(memory, l.minimums, q4_scale(l.units, s.strip, s.unit, s.g, s.h), block.minimum);
            });
            return;
        case StripKind::q8:
            each(part, l, place, 1, [&](const Spot& s, std::int64_t r, std::int64_t c) {
                const auto block = block_of<BlockQ8_0>(part, r, c);
                or_bits(memory, l.codes, q8_word(l.units, s.strip, s.unit, s.lane, s.j, s.h),
                        std::uint32_t{static_cast<std::uint8_t>(block.codes[c % 32])} << (8 * s.e));
                store(memory, l.scales, q8_scale(l.units, s.strip, s.unit, s.g, s.h), block.scale);
            });
            return;
        case StripKind::q6:
            each(part, l, place, 1, [&](const Spot& s, std::int64_t r, std::int64_t c) {
                const auto block = block_of<BlockQ6K>(part, r, c);
                const auto at = static_cast<int>(c % 256), half = at / 128, k = at % 128 / 32, byte = at % 32;
                put_q4(l, memory, s, block.low[64 * half + 32 * (k % 2) + byte] >> (4 * (k / 2)) & 15u);
                or_bits(memory, l.high, q6_high_word(l.units, s.strip, s.unit, s.lane),
                        (block.high[32 * half + byte] >> (2 * k) & 3u) << (2 * (s.i + 4 * s.j) + 16 * (s.e % 2)));
                store(memory, l.scales, q6_scale(l.units, s.strip, s.unit, s.g, s.j, s.h), block.scales[at / 16]);
                store(memory, l.block_scales, q6_block_scale(l.units, s.strip, s.unit, s.g, s.h), block.scale);
            });
            return;
    }
}

float strip_value(const StripLayout& l, std::span<const std::byte> memory, std::int64_t row, std::int64_t column) {
    const Spot s = spot_of(l.kind, row, column);
    const auto half_at = [&](std::uint64_t array, std::int64_t index) { return to_float(load<Half>(memory, array, index)); };
    switch (l.kind) {
        case StripKind::q4:
        case StripKind::q4_minimum: {
            const std::int64_t index = q4_scale(l.units, s.strip, s.unit, s.g, s.h);
            const auto code = static_cast<int>(get_q4(l, memory, s));
            if (l.kind == StripKind::q4) return static_cast<float>(code - 8) * half_at(l.scales, index);
            return static_cast<float>(code) * half_at(l.scales, index) + half_at(l.minimums, index);
        }
        case StripKind::q8: {
            const auto word = load<std::uint32_t>(memory, l.codes, q8_word(l.units, s.strip, s.unit, s.lane, s.j, s.h));
            return static_cast<float>(static_cast<std::int8_t>(word >> (8 * s.e))) *
                   half_at(l.scales, q8_scale(l.units, s.strip, s.unit, s.g, s.h));
        }
        case StripKind::q6: {
            const auto high = load<std::uint32_t>(memory, l.high, q6_high_word(l.units, s.strip, s.unit, s.lane));
            const auto code =
                static_cast<int>(get_q4(l, memory, s) | (high >> (2 * (s.i + 4 * s.j) + 16 * (s.e % 2)) & 3u) << 4);
            const auto scale = load<std::int8_t>(memory, l.scales, q6_scale(l.units, s.strip, s.unit, s.g, s.j, s.h));
            return half_at(l.block_scales, q6_block_scale(l.units, s.strip, s.unit, s.g, s.h)) * static_cast<float>(scale) *
                   static_cast<float>(code - 32);
        }
    }
    return 0.0f;
}

}  // namespace narae
