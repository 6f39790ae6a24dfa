// Strips of panels times all rows of activations, and what becomes of the sums.
//
// One row: panels are read as they lie in memory, once, in order. Several rows: a piece of the strip (a slab of its inputs) is
// expanded into the first-level cache, then all tiles of tokens pass over it; sums wait in scratch between slabs. With so many
// rows that their activations leave the second-level cache, the rows are taken in chunks.
#pragma once

#include "kernels/cpu/expand.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/cpu/tiles.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Product {
    using F = typename Isa::F;

    static constexpr std::int64_t kSlabBlocks = 20, kSlabInputs = 128;
    static constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;
    // Of one panel: a slab of q6k is a multiple of its block (24 x 32 inputs as codes, 256 as f32).
    static constexpr std::int64_t kCodesPanel = 24 * (kCodeBytes + 128), kFloatPanel = 256 * 64,
                                  kSpare = 8 * (kCodeBytes + 256);
    static constexpr std::int64_t kPanelScratch = kCodesPanel > kFloatPanel ? kCodesPanel : kFloatPanel;

    static std::int64_t scratch_bytes(int rows) {
        return 2 * kPanelScratch + kSpare + static_cast<std::int64_t>(rows) * 2 * kVectorBytes;
    }

    static void run(const ProductTask& task, std::int64_t begin, std::int64_t end, std::byte* scratch) {
        const Scratch s{scratch, scratch + 2 * kPanelScratch, reinterpret_cast<float*>(scratch + 2 * kPanelScratch + kSpare)};
        const std::int64_t row_bytes = task.in * (task.forms[kFloatForm] ? 4 : 2);
        const int chunks = static_cast<int>(ceil_div(task.rows * row_bytes, kChunkBytes));
        for (int chunk = 0; chunk < chunks; ++chunk)
            for (std::int64_t i = begin; i < end; ++i) {
                const Strip& strip = task.strips[i];
                const Tiles tiles = Tiles::of(task.rows, strip.integer ? Isa::kIntTokens : Isa::kFloatTokens);
                const Range range{tiles, tiles.count * chunk / chunks, tiles.count * (chunk + 1) / chunks};
                // The last strip has no next; asking for itself again costs nothing.
                const Strip& next = task.strips[i + 1 < end ? i + 1 : i];
                if (range.begin < range.end) one_strip(task, strip, next, range, s);
            }
    }

private:
    struct Scratch {
        std::byte *panels, *spare;
        float* sums;
    };
    struct Range {
        Tiles tiles;
        int begin, end;
        NARAE_INLINE int row(int tile) const { return tiles.start(tile); }
        NARAE_INLINE int first_row() const { return row(begin); }
    };
    // The piece of the panels after the one that is computed. The first tiles ask for it: one panel each where there are two.
    struct Coming {
        const std::byte* panels[2] = {};
        static NARAE_INLINE Coming of(const Strip& strip, std::int64_t offset) {
            Coming coming;
            for (int p = 0; p < strip.count; ++p) coming.panels[p] = strip.panels[p] + offset;
            return coming;
        }
        // The first `asked` bytes of every `step` are taken care of elsewhere.
        NARAE_INLINE Ahead for_tile(int tile, int tiles, std::int64_t step, std::int64_t asked) const {
            Ahead ahead;
            ahead.step = step;
            ahead.bytes = step - asked;
            for (int p = 0; p < 2; ++p)
                if (panels[p] && (tiles == 1 || tile == p)) ahead.panels[p] = panels[p] + asked;
            return ahead;
        }
    };
    using CodesTile = void (*)(std::int64_t, const std::byte* const*, const std::byte*, float*, bool, const Ahead&);
    using FloatTile = void (*)(std::int64_t, const float* const*, const float*, float*, bool, const Ahead&);

    static void one_strip(const ProductTask& task, const Strip& strip, const Strip& next, const Range& range,
                          const Scratch& s) {
        const int most = strip.integer ? Isa::kIntPanels : Isa::kFloatPanels;
        const int together = strip.count < most ? strip.count : most;
        if (task.rows == 1 && one_row(task, strip, next, s))
            finish(task.output, strip, 0, 1, s.sums, 16, 16);
        else if (strip.integer)
            codes(task, strip, next, range, together, s);
        else
            values(task, strip, next, range, together, s);
    }

    static bool one_row(const ProductTask& task, const Strip& strip, const Strip& next, const Scratch& s) {
        using Tile = TileProduct<Isa>;
        if (strip.integer) {
            const std::int64_t blocks = task.in / kBlock;
            const std::byte* x = task.forms[scales_of(strip.kind) == 2 ? kHalfForm : kIntForm];
            for (int p = 0; p < strip.count; ++p) {
                float* sums = s.sums + p * 16;
                switch (strip.kind) {
                    case Kind::q4:
                        Tile::template one_q4<false>(blocks, strip.panels[p], x, sums);
                        break;
                    case Kind::q4_min:
                        Tile::template one_q4<true>(blocks, strip.panels[p], x, sums);
                        break;
                    case Kind::q8:
                        Tile::one_q8(blocks, strip.panels[p], x, sums);
                        break;
                    default:
                        return false;
                }
            }
            return true;
        }
        switch (strip.kind) {
            case Kind::f32:
                one_dense<Kind::f32>(task, strip, next, s);
                return true;
            case Kind::f16:
                one_dense<Kind::f16>(task, strip, next, s);
                return true;
            case Kind::bf16:
                one_dense<Kind::bf16>(task, strip, next, s);
                return true;
            default:
                return false;
        }
    }
    template <Kind kind>
    static void one_dense(const ProductTask& task, const Strip& strip, const Strip& next, const Scratch& s) {
        const float* x = reinterpret_cast<const float*>(task.forms[kFloatForm]);
        if (strip.count == 2)
            TileProduct<Isa>::template one_dense<kind, 2>(task.in, strip.panels, next.panels, x, s.sums);
        else
            TileProduct<Isa>::template one_dense<kind, 1>(task.in, strip.panels, next.panels, x, s.sums);
    }

    static void codes(const ProductTask& task, const Strip& strip, const Strip& next, const Range& range, int together,
                      const Scratch& s) {
        const std::int64_t blocks = task.in / kBlock, unit = strip.kind == Kind::q6k ? 8 : 1;
        const std::int64_t slabs = ceil_div(blocks, kSlabBlocks), slab = ceil_div(ceil_div(blocks, slabs), unit) * unit;
        const int form = scales_of(strip.kind) == 2 ? kHalfForm : kIntForm;
        const std::int64_t token_bytes = form == kIntForm ? kBlock + 12 : kBlock + 20;
        const std::int64_t block_bytes = panel_bytes(strip.kind, kSuperBlock) / (kSuperBlock / kBlock);
        const bool as_it_is = is_wide(strip.kind) || strip.kind == Kind::q8;
        // While it expands it asks for a third of what comes next, while it multiplies for the rest.
        const std::int64_t asked = as_it_is ? 0 : block_bytes / 192 * 64;
        for (std::int64_t from = 0; from < blocks; from += slab) {
            const std::int64_t to = smaller(blocks, from + slab);
            const Coming coming = to < blocks ? Coming::of(strip, to * block_bytes) : Coming::of(next, 0);
            const std::byte* panels[2];
            for (int p = 0; p < strip.count; ++p) {
                if (as_it_is) {
                    panels[p] = strip.panels[p] + from * block_bytes;
                } else {
                    panels[p] = s.panels + p * kPanelScratch;
                    Expand<Isa>::codes(strip.kind, strip.panels[p], from, to, s.panels + p * kPanelScratch,
                                       coming.panels[p] ? coming.panels[p] : strip.panels[p], asked);
                }
            }
            for (int tile = range.begin; tile < range.end; ++tile) {
                const int size = range.tiles.size(tile), row = range.row(tile);
                const Ahead ahead = coming.for_tile(tile - range.begin, range.end - range.begin, block_bytes, asked);
                const std::byte* x = task.forms[form] + form_bytes(form, task.in, row) + from * size * token_bytes;
                const CodesTile product = codes_tile(strip.kind, together, size);
                float* sums = s.sums + (row - range.first_row()) * strip.count * 16;
                if (to == blocks) ask_for_output(task.output, strip, row, size);
                for (int p = 0; p < strip.count; p += together)
                    product(to - from, panels + p, x, sums + p * size * 16, from == 0, ahead);
                if (to == blocks) finish(task.output, strip, row, size, sums, together * 16, together == 2 ? 16 : size * 16);
            }
        }
    }

    static void values(const ProductTask& task, const Strip& strip, const Strip& next, const Range& range, int together,
                       const Scratch& s) {
        const std::int64_t slab = strip.kind == Kind::q6k ? 256 : kSlabInputs;
        for (std::int64_t from = 0; from < task.in; from += slab) {
            const std::int64_t to = smaller(task.in, from + slab);
            const float* panels[2];
            for (int p = 0; p < strip.count; ++p) {
                if (strip.kind == Kind::f32) {
                    panels[p] = reinterpret_cast<const float*>(strip.panels[p]) + from * 16;
                } else {
                    float* values = reinterpret_cast<float*>(s.panels + p * kPanelScratch);
                    Expand<Isa>::values(strip.kind, strip.panels[p], from, to, s.spare, values);
                    panels[p] = values;
                }
            }
            // Two inputs at a time; codes that meet f32 are not asked for beforehand.
            const std::int64_t pair_bytes = has_codes(strip.kind) ? 0 : panel_bytes(strip.kind, 2);
            const Coming coming = pair_bytes == 0 ? Coming{}
                                  : to < task.in  ? Coming::of(strip, to / 2 * pair_bytes)
                                                  : Coming::of(next, 0);
            for (int tile = range.begin; tile < range.end; ++tile) {
                const int size = range.tiles.size(tile), row = range.row(tile);
                const Ahead ahead = coming.for_tile(tile - range.begin, range.end - range.begin, pair_bytes, 0);
                const float* x = reinterpret_cast<const float*>(task.forms[kFloatForm]) + row * task.in + from * size;
                const FloatTile product = float_tile(together, size);
                float* sums = s.sums + (row - range.first_row()) * strip.count * 16;
                if (to == task.in) ask_for_output(task.output, strip, row, size);
                for (int p = 0; p < strip.count; p += together)
                    product(to - from, panels + p, x, sums + p * size * 16, from == 0, ahead);
                if (to == task.in) finish(task.output, strip, row, size, sums, together * 16, together == 2 ? 16 : size * 16);
            }
        }
    }

    // The instance for P panels and `size` tokens, found by trying T = most, most - 1, ...
    template <int P, int T, int S, bool M, bool q8>
    static CodesTile codes_of_size(int size) {
        if (size == T) return TileProduct<Isa>::template codes<P, T, S, M, q8>;
        if constexpr (T > 1) return codes_of_size<P, T - 1, S, M, q8>(size);
        return nullptr;
    }
    template <int P>
    static CodesTile codes_of_kind(Kind kind, int size) {
        constexpr int T = Isa::kIntTokens;
        if (kind == Kind::q8) return codes_of_size<P, T, 1, false, true>(size);
        if (scales_of(kind) == 2)
            return has_minimum(kind) ? codes_of_size<P, T, 2, true, false>(size) : codes_of_size<P, T, 2, false, false>(size);
        return has_minimum(kind) ? codes_of_size<P, T, 1, true, false>(size) : codes_of_size<P, T, 1, false, false>(size);
    }
    static CodesTile codes_tile(Kind kind, int together, int size) {
        if constexpr (Isa::kIntPanels == 2)
            if (together == 2) return codes_of_kind<2>(kind, size);
        return codes_of_kind<1>(kind, size);
    }
    template <int P, int T>
    static FloatTile float_of_size(int size) {
        if (size == T) return TileProduct<Isa>::template values<P, T>;
        if constexpr (T > 1) return float_of_size<P, T - 1>(size);
        return nullptr;
    }
    static FloatTile float_tile(int together, int size) {
        if constexpr (Isa::kFloatPanels == 2)
            if (together == 2) return float_of_size<2, Isa::kFloatTokens>(size);
        return float_of_size<1, Isa::kFloatTokens>(size);
    }

    // The lines of the output that finish() will write (and for sums with a residual read) after the tile's products.
    static NARAE_INLINE void ask_for_output(const OutputTask& output, const Strip& strip, int row, int rows) {
        const float* out = output.out[strip.part] + row * output.stride[strip.part] + strip.row;
        for (int r = 0; r < rows; ++r) {
            __builtin_prefetch(out, 1);
            __builtin_prefetch(out + (strip.gated ? 0 : 16 * (strip.count - 1)), 1);
            out += output.stride[strip.part];
        }
    }

    static void finish(const OutputTask& output, const Strip& strip, int first_row, int rows, const float* sums, int row_step,
                       int panel_step) {
        const int panels = output.ending == Ending::gated ? 1 : strip.count;
        for (int p = 0; p < panels; ++p) {
            const int part = strip.gated ? p : strip.part;
            const int count = strip.gated ? strip.rows : smaller(16, strip.rows - 16 * p);
            const std::int64_t column = strip.gated ? strip.row : strip.row + 16 * p;
            const F add = output.bias[part] ? Isa::load(output.bias[part] + column, count) : Isa::zero();
            const F up_add = strip.gated && output.bias[1] ? Isa::load(output.bias[1] + column, count) : Isa::zero();
            float* out = output.out[part] + first_row * output.stride[part] + column;
            for (int r = 0; r < rows; ++r) {
                const float* at = sums + r * row_step + p * panel_step;
                F value = Isa::add(Isa::load(at), add);
                switch (output.ending) {
                    case Ending::store:
                        break;
                    case Ending::add:
                        value = Isa::fma(Isa::set(output.scale), value, Isa::load(out, count));
                        break;
                    case Ending::gated:
                        value = Isa::mul(Math<Isa>::curve(output.curve, value), Isa::add(Isa::load(at + panel_step), up_add));
                        break;
                    case Ending::curve:
                        value = Math<Isa>::curve(output.curve, value);
                        break;
                    case Ending::logits:
                        value = Isa::mul(value, Isa::set(output.scale));
                        if (output.soft_cap > 0.0f) {
                            const F cap = Isa::set(output.soft_cap);
                            value = Isa::mul(cap, Math<Isa>::tanh(Isa::div(value, cap)));
                        }
                        break;
                }
                Isa::store(out, value, count);
                out += output.stride[part];
            }
        }
    }
};

}  // namespace narae::kernels::cpu
