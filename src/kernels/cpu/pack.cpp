#include "kernels/cpu/pack.h"

#include "base/error.h"
#include "formats/ggml_blocks.h"
#include "kernels/cpu/wide_blocks.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace narae::kernels::cpu {
namespace {

struct Source {
    const std::byte* rows;  // of the panel's first row
    std::int64_t row_bytes;
    int count;  // rows, at most 16
    std::int64_t in;
};

void copy_word(std::byte* to, const std::byte* from) { std::memcpy(to, from, 4); }
void copy_half(std::byte* to, const std::byte* from) { std::memcpy(to, from, 2); }

// Blocks of words, each word into its lane of its vector; halves (scales) behind them. The block's bytes in the file are
// `halves` halves, then `words` words.
template <int words, int halves>
void pack_small_blocks(const Source& source, std::uint32_t flip, std::byte* panel) {
    constexpr std::int64_t kFrom = 2 * halves + 4 * words, kTo = 64 * words + 32 * halves;
    for (std::int64_t b = 0; b < source.in / kBlock; ++b) {
        for (int r = 0; r < source.count; ++r) {
            const std::byte* from = source.rows + r * source.row_bytes + b * kFrom;
            for (int h = 0; h < halves; ++h) copy_half(panel + 64 * words + 32 * h + 2 * r, from + 2 * h);
            for (int w = 0; w < words; ++w) {
                std::uint32_t word;
                std::memcpy(&word, from + 2 * halves + 4 * w, 4);
                word ^= flip;
                std::memcpy(panel + 64 * w + 4 * r, &word, 4);
            }
        }
        panel += kTo;
    }
}

void pack_q6k(const Source& source, std::byte* panel) {
    constexpr int kWords = 52;  // codes and scales
    for (std::int64_t b = 0; b < source.in / kSuperBlock; ++b) {
        for (int r = 0; r < source.count; ++r) {
            const std::byte* from = source.rows + r * source.row_bytes + b * static_cast<std::int64_t>(sizeof(BlockQ6K));
            for (int w = 0; w < kWords; ++w) copy_word(panel + 64 * w + 4 * r, from + 4 * w);
            copy_half(panel + 64 * kWords + 2 * r, from + 4 * kWords);
        }
        panel += kQ6kBytes;
    }
}

// Codes and f16 scale of a Q5_0 block as a q8 block: code - 16 fits an int8.
void pack_q5_0(const Source& source, std::byte* panel) {
    for (std::int64_t b = 0; b < source.in / kBlock; ++b) {
        for (int r = 0; r < source.count; ++r) {
            const auto block =
                load_block<BlockQ5_0>(source.rows + r * source.row_bytes + b * static_cast<std::int64_t>(sizeof(BlockQ5_0)));
            const std::uint32_t high = load_u32(block.high);
            for (int j = 0; j < 16; ++j) {
                const std::uint32_t first = (block.codes[j] & 15u) | (high >> j & 1u) << 4;
                const std::uint32_t second = (block.codes[j] >> 4) | (high >> (j + 16) & 1u) << 4;
                panel[j / 4 * 64 + 4 * r + j % 4] = static_cast<std::byte>(first + 112);
                panel[(4 + j / 4) * 64 + 4 * r + j % 4] = static_cast<std::byte>(second + 112);
            }
            std::memcpy(panel + kCodeBytes + 2 * r, &block.scale, 2);
        }
        panel += kCodeBytes + 32;
    }
}

template <class Block>
void pack_wide(Kind kind, const Source& source, std::byte* panel) {
    const int runs = scales_of(kind);
    const std::int64_t step = expanded_bytes(kind);
    constexpr int kBlocks = Block::kElements / kBlock;
    WideBlock wide{};
    for (std::int64_t b = 0; b < source.in / Block::kElements; ++b) {
        for (int r = 0; r < source.count; ++r) {
            take_apart(load_block<Block>(source.rows + r * source.row_bytes + b * static_cast<std::int64_t>(sizeof(Block))),
                       wide);
            for (int i = 0; i < kBlocks; ++i) {
                std::byte* to = panel + i * step;
                for (int k = 0; k < kBlock; ++k)
                    to[k / 4 * 64 + 4 * r + k % 4] = static_cast<std::byte>(wide.codes[i * kBlock + k] + 128);
                std::byte* numbers = to + kCodeBytes + 4 * r;
                for (int s = 0; s < runs; ++s) {
                    std::memcpy(numbers + 64 * s, &wide.scales[i * runs + s], 4);
                    if (has_minimum(kind)) std::memcpy(numbers + 64 * (runs + s), &wide.minimums[i * runs + s], 4);
                }
            }
        }
        panel += kBlocks * step;
    }
}

void pack_wide(Kind kind, const Format& format, const Source& source, std::byte* panel) {
    if (format.name == "q5_1") return pack_wide<BlockQ5_1>(kind, source, panel);
    if (format.name == "q2_k") return pack_wide<BlockQ2K>(kind, source, panel);
    if (format.name == "q3_k") return pack_wide<BlockQ3K>(kind, source, panel);
    if (format.name == "q4_k") return pack_wide<BlockQ4K>(kind, source, panel);
    if (format.name == "q5_k") return pack_wide<BlockQ5K>(kind, source, panel);
    NARAE_CHECK(false, "no wide panel for format {}", format.name);
}

// Elements of `size` bytes, `together` consecutive inputs in a lane.
template <int size, int together>
void pack_dense(const Source& source, std::byte* panel) {
    constexpr std::int64_t kLane = size * together;
    for (std::int64_t k = 0; k + together <= source.in; k += together)
        for (int r = 0; r < source.count; ++r)
            std::memcpy(panel + k * 16 * size + r * kLane, source.rows + r * source.row_bytes + k * size, kLane);
    if (source.in % together != 0)
        for (int r = 0; r < source.count; ++r)
            std::memcpy(panel + (source.in - 1) * 16 * size + r * kLane,
                        source.rows + r * source.row_bytes + (source.in - 1) * size, size);
}

void unpack_codes(Kind kind, const std::byte* panel, int lane, std::int64_t in, float* values) {
    const auto half_at = [&](const std::byte* at) {
        Half half;
        std::memcpy(&half, at + 2 * lane, 2);
        return to_float(half);
    };
    const auto float_at = [&](const std::byte* at) {
        float value;
        std::memcpy(&value, at + 4 * lane, 4);
        return value;
    };
    const auto byte_at = [&](const std::byte* vectors, int k) {
        return std::to_integer<int>(vectors[k / 4 * 64 + 4 * lane + k % 4]);
    };
    if (kind == Kind::q6k) {
        for (std::int64_t b = 0; b < in / kSuperBlock; ++b, panel += kQ6kBytes, values += kSuperBlock) {
            BlockQ6K block;
            for (int w = 0; w < 52; ++w)
                std::memcpy(reinterpret_cast<std::byte*>(&block) + 4 * w, panel + 64 * w + 4 * lane, 4);
            const float scale = half_at(panel + 52 * 64);
            for (int j = 0; j < kSuperBlock; ++j) {
                const int half = j / 128, k = j % 128 / 32, l = j % 32;
                const int low = (block.low[64 * half + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15;
                const int high = (block.high[32 * half + l] >> (2 * k)) & 3;
                values[j] = scale * static_cast<float>(block.scales[j / 16]) * static_cast<float>((low | high << 4) - 32);
            }
        }
        return;
    }
    const std::int64_t step = panel_bytes(kind, kBlock);
    for (std::int64_t b = 0; b < in / kBlock; ++b, panel += step, values += kBlock) {
        if (kind == Kind::q4 || kind == Kind::q4_min) {
            const float scale = half_at(panel + 256), minimum = kind == Kind::q4_min ? half_at(panel + 288) : 0.0f;
            const int offset = kind == Kind::q4_min ? 0 : 8;
            for (int k = 0; k < kBlock; ++k) {
                const int code = (byte_at(panel, k % 16) >> (4 * (k / 16))) & 15;
                const float value = static_cast<float>(code - offset) * scale;
                values[k] = kind == Kind::q4_min ? value + minimum : value;
            }
        } else if (kind == Kind::q8) {
            const float scale = half_at(panel + kCodeBytes);
            for (int k = 0; k < kBlock; ++k) values[k] = static_cast<float>(byte_at(panel, k) - 128) * scale;
        } else {
            const int runs = scales_of(kind);
            for (int k = 0; k < kBlock; ++k) {
                const int run = k * runs / kBlock;
                const float value = static_cast<float>(byte_at(panel, k) - 128) * float_at(panel + kCodeBytes + 64 * run);
                values[k] = has_minimum(kind) ? value + float_at(panel + kCodeBytes + 64 * (runs + run)) : value;
            }
        }
    }
}

}  // namespace

Kind kind_of(const Format& format) {
    if (format.dtype == DType::f16) return Kind::f16;
    if (format.dtype == DType::bf16) return Kind::bf16;
    if (format.name == "q4_0") return Kind::q4;
    if (format.name == "q4_1") return Kind::q4_min;
    if (format.name == "q8_0" || format.name == "q5_0") return Kind::q8;
    if (format.name == "q6_k") return Kind::q6k;
    if (format.name == "q5_1" || format.name == "q4_k" || format.name == "q5_k") return Kind::wide_min;
    if (format.name == "q3_k") return Kind::wide_half;
    if (format.name == "q2_k") return Kind::wide_half_min;
    return Kind::f32;
}

void pack_panel(Kind kind, const PackedWeight& weight, std::int64_t row, std::byte* panel) {
    const std::int64_t row_bytes = weight.format->row_bytes(weight.in);
    const int count = static_cast<int>(std::min<std::int64_t>(kPanelRows, weight.out - row));
    Source source{weight.codes().data() + row * row_bytes, row_bytes, count, weight.in};
    switch (kind) {
        case Kind::q4:
            return pack_small_blocks<4, 1>(source, 0, panel);
        case Kind::q4_min:
            return pack_small_blocks<4, 2>(source, 0, panel);
        case Kind::q8:
            if (weight.format->name == "q5_0") return pack_q5_0(source, panel);
            return pack_small_blocks<8, 1>(source, 0x80808080u, panel);
        case Kind::q6k:
            return pack_q6k(source, panel);
        case Kind::f16:
            return pack_dense<2, 1>(source, panel);
        case Kind::bf16:
            return pack_dense<2, 2>(source, panel);
        case Kind::f32:
            break;
        default:
            return pack_wide(kind, *weight.format, source, panel);
    }
    if (weight.format->dtype == DType::f32) return pack_dense<4, 1>(source, panel);
    std::vector<float> values(static_cast<std::size_t>(count * weight.in));
    weight.format->unpack(weight, row, row + count, values.data());
    source.rows = reinterpret_cast<const std::byte*>(values.data());
    source.row_bytes = weight.in * 4;
    pack_dense<4, 1>(source, panel);
}

void unpack_row(Kind kind, const std::byte* panel, int lane, std::int64_t in, float* values) {
    if (has_codes(kind)) return unpack_codes(kind, panel, lane, in, values);
    for (std::int64_t k = 0; k < in; ++k) {
        if (kind == Kind::f32) {
            std::memcpy(values + k, panel + (k * 16 + lane) * 4, 4);
        } else {
            std::uint16_t bits;
            std::memcpy(&bits, panel + (kind == Kind::f16 ? (k * 16 + lane) * 2 : k / 2 * 64 + lane * 4 + k % 2 * 2), 2);
            values[k] = kind == Kind::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
        }
    }
}

}  // namespace narae::kernels::cpu
