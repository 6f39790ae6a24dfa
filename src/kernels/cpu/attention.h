// Causal attention of some rows of one sequence with one kv head, over the paged cache (Vaswani et al. 2017; the running
// softmax of Milakov and Gimelshein 2018 and Dao et al. 2022).
//
// A line is one query row with one of the heads that share the kv head. Lines are computed a few at a time (a group) so that
// they share loads of keys and values; with more than one group a block of the cache is first converted to f32 in scratch. The
// order of every line's arithmetic depends on absolute positions only: blocks of 64 positions update a running softmax, spans
// of kSpanBlocks blocks each start anew and are combined in order. So a row's bits depend neither on its company nor on how
// the prompt was cut. Positions are lanes for scores and components are lanes for values: no sums across lanes but the final
// one of the weights.
#pragma once

#include "kernels/cpu/math.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Attention {
    using F = typename Isa::F;
    static constexpr int kPositions = 64;
    static constexpr int kSpanBlocks = 8;
    static constexpr int kLines = Isa::kAttentionLines, kVectors = Isa::kAttentionVectors;
    static constexpr float kNothing = -__builtin_inff();

    // Scratch: q of each group as [head_dim][lines of the group]; per line the running state; scores of one group; and one
    // block's keys [head_dim][64] and values [64][head_dim] in f32.
    struct Line {
        float largest, total_largest;    // of this span, of the spans before
        float sums[16], total_sums[16];  // of the weights, by lanes
    };
    static std::int64_t padded(int head_dim) { return ceil_div(head_dim, 16) * 16; }
    static std::int64_t scratch_bytes(int lines, int head_dim) {
        const std::int64_t floats = lines * static_cast<std::int64_t>(head_dim) + kLines * kPositions +
                                    2 * kPositions * padded(head_dim) + 2 * lines * padded(head_dim);
        return ceil_div(floats * 4, 64) * 64 + 7 * 64 + lines * static_cast<std::int64_t>(sizeof(Line));
    }

    static void run(const AttentionTask& task, const AttentionItem& item, std::byte* scratch) {
        const int share = task.heads / task.kv_heads, lines = item.rows * share;
        const std::int64_t width = padded(task.head_dim);
        Work w{task, item, share, lines, width, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
        w.q = take(scratch, lines * static_cast<std::int64_t>(task.head_dim));
        w.scores = take(scratch, kLines * kPositions);
        w.keys = take(scratch, kPositions * width);
        w.values = take(scratch, kPositions * width);
        w.sums = take(scratch, lines * width);
        w.totals = take(scratch, lines * width);
        w.state = reinterpret_cast<Line*>(scratch);
        gather_queries(w);
        start(w);

        const std::int32_t last = item.position + item.rows - 1;
        const std::int32_t oldest = task.window > 0 ? larger(0, item.position - task.window + 1) : 0;
        const int first_block = oldest / kPositions, last_block = last / kPositions;
        for (int block = first_block; block <= last_block; ++block) {
            one_block(w, block);
            if (block % kSpanBlocks == kSpanBlocks - 1 || block == last_block) end_span(w);
        }
        write(w);
    }

private:
    struct Work {
        const AttentionTask& task;
        const AttentionItem& item;
        int share, lines;
        std::int64_t width;
        float *q, *scores, *keys, *values, *sums, *totals;
        Line* state;

        NARAE_INLINE int head(int line) const { return item.kv_head * share + line % share; }
        NARAE_INLINE std::int32_t position(int line) const { return item.position + line / share; }
        // The part of a block that a line sees: [begin, end) of its 64 positions.
        NARAE_INLINE int end(int line, int block) const {
            return smaller(kPositions, larger(0, position(line) + 1 - block * kPositions));
        }
        NARAE_INLINE int begin(int line, int block) const {
            if (task.window <= 0) return 0;
            return smaller(kPositions, larger(0, position(line) + 1 - task.window - block * kPositions));
        }
    };

    static NARAE_INLINE float* take(std::byte*& scratch, std::int64_t floats) {
        float* taken = reinterpret_cast<float*>(scratch);
        scratch += ceil_div(floats * 4, 64) * 64;
        return taken;
    }

    static void gather_queries(const Work& w) {
        const std::int64_t dim = w.task.head_dim, columns = w.task.heads * dim;
        for (int group = 0; group < w.lines; group += kLines) {
            const int count = smaller(kLines, w.lines - group);
            for (int i = 0; i < count; ++i) {
                const float* from = w.task.q + (w.item.first_row + (group + i) / w.share) * columns + w.head(group + i) * dim;
                float* to = w.q + group * dim + i;
                for (std::int64_t d = 0; d < dim; ++d) to[d * count] = from[d];
            }
        }
    }

    static void start(const Work& w) {
        for (int line = 0; line < w.lines; ++line) {
            Line& state = w.state[line];
            state.largest = kNothing;
            state.total_largest = kNothing;
            Isa::store(state.sums, Isa::zero());
            Isa::store(state.total_sums, Isa::zero());
            for (std::int64_t d = 0; d < w.width; d += 16) {
                Isa::store(w.sums + line * w.width + d, Isa::zero());
                Isa::store(w.totals + line * w.width + d, Isa::zero());
            }
            if (w.task.sinks) {
                state.total_largest = w.task.sinks[w.head(line)];
                state.total_sums[0] = 1.0f;
            }
        }
    }

    static void one_block(const Work& w, int block) {
        switch (w.task.element) {
            case 0:
                return one_block_of<0>(w, block);
            case 1:
                return one_block_of<1>(w, block);
            default:
                return one_block_of<2>(w, block);
        }
    }

    template <int element>
    static void one_block_of(const Work& w, int block) {
        const AttentionTask& task = w.task;
        const std::int32_t index = w.item.blocks[block];
        const std::byte* piece =
            task.pieces[index >> task.piece_shift] + (index & ((1 << task.piece_shift) - 1)) * task.block_bytes;
        const std::int64_t head_offset =
            static_cast<std::int64_t>(w.item.kv_head) * task.head_dim * kPositions * kBytes<element>;
        const std::byte* keys = piece + task.keys_offset + head_offset;
        const std::byte* values = piece + task.values_offset + head_offset;
        const int used = w.end(w.lines - 1, block);
        if (element != 0 && w.lines > kLines) {
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(task.head_dim) * kPositions; i += 16)
                Isa::store(w.keys + i, load<element>(keys, i));
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(task.head_dim) * used; i += 16)
                Isa::store(w.values + i, load<element>(values, i));
            groups<0>(w, block, reinterpret_cast<const std::byte*>(w.keys), reinterpret_cast<const std::byte*>(w.values));
        } else {
            groups<element>(w, block, keys, values);
        }
    }

    template <int element>
    static void groups(const Work& w, int block, const std::byte* keys, const std::byte* values) {
        for (int group = 0; group < w.lines; group += kLines) {
            const int count = smaller(kLines, w.lines - group);
            if (w.end(group + count - 1, block) <= w.begin(group, block)) continue;
            group_of_size<element, kLines>(w, block, keys, values, group, count);
        }
    }
    template <int element, int L>
    static NARAE_INLINE void group_of_size(const Work& w, int block, const std::byte* keys, const std::byte* values, int group,
                                           int count) {
        if (count == L) {
            score<element, L>(w, keys, group);
            float factors[16];
            weigh<L>(w, block, group, factors);
            mix<element, L>(w, values, group, factors, w.begin(group, block), w.end(group + L - 1, block));
        } else if constexpr (L > 1) {
            group_of_size<element, L - 1>(w, block, keys, values, group, count);
        }
    }

    // scores [L][64] = q K, components in ascending order.
    template <int element, int L>
    static void score(const Work& w, const std::byte* keys, int group) {
        const int dim = w.task.head_dim;
        const float* q = w.q + static_cast<std::int64_t>(group) * dim;
        NARAE_UNROLL
        for (int part = 0; part < kPositions; part += 16 * kVectors) {
            F acc[L][kVectors];
            NARAE_UNROLL
            for (int i = 0; i < L; ++i) {
                NARAE_UNROLL
                for (int v = 0; v < kVectors; ++v) acc[i][v] = Isa::zero();
            }
            for (int d = 0; d < dim; ++d) {
                F key[kVectors];
                NARAE_UNROLL
                for (int v = 0; v < kVectors; ++v)
                    key[v] = load<element>(keys, static_cast<std::int64_t>(d) * kPositions + part + 16 * v);
                NARAE_UNROLL
                for (int i = 0; i < L; ++i) {
                    const F a = Isa::broadcast(q + d * L + i);
                    NARAE_UNROLL
                    for (int v = 0; v < kVectors; ++v) acc[i][v] = Isa::fma(a, key[v], acc[i][v]);
                }
            }
            NARAE_UNROLL
            for (int i = 0; i < L; ++i) {
                NARAE_UNROLL
                for (int v = 0; v < kVectors; ++v) Isa::store(w.scores + i * kPositions + part + 16 * v, acc[i][v]);
            }
        }
    }

    // Scores into weights relative to the largest score so far; `factors` are what the lines' earlier sums are multiplied with.
    template <int L>
    static void weigh(const Work& w, int block, int group, float (&factors)[16]) {
        float changes[16] = {}, now[L];
        NARAE_UNROLL
        for (int i = 0; i < L; ++i) {
            const float before = w.state[group + i].largest;
            now[i] = larger(before, adjust(w, block, group + i, w.scores + i * kPositions));
            changes[i] = before == now[i] ? 0.0f : before - now[i];
        }
        Isa::store(factors, Math<Isa>::exp(Isa::load(changes)));
        NARAE_UNROLL
        for (int i = 0; i < L; ++i) {
            float* scores = w.scores + i * kPositions;
            Line& state = w.state[group + i];
            state.largest = now[i];
            // A line that has seen nothing yet sees nothing of this block either: its scores are -infinity.
            const F largest = Isa::set(now[i] == kNothing ? 0.0f : now[i]);
            F sum = Isa::mul(Isa::load(state.sums), Isa::set(factors[i]));
            NARAE_UNROLL
            for (int v = 0; v < 4; ++v) {
                const F weight = Math<Isa>::exp(Isa::sub(Isa::load(scores + 16 * v), largest));
                Isa::store(scores + 16 * v, weight);
                sum = Isa::add(sum, weight);
            }
            Isa::store(state.sums, sum);
        }
    }

    // Scale, soft cap, ALiBi (Press et al. 2022) and mask of one line's scores; returns the largest.
    static NARAE_INLINE float adjust(const Work& w, int block, int line, float* scores) {
        const int begin = w.begin(line, block), end = w.end(line, block);
        const F scale = Isa::set(w.task.scale), nothing = Isa::set(kNothing);
        F largest = nothing;
        NARAE_UNROLL
        for (int v = 0; v < 4; ++v) {
            F s = Isa::mul(Isa::load(scores + 16 * v), scale);
            if (w.task.soft_cap > 0.0f) {
                const F cap = Isa::set(w.task.soft_cap);
                s = Isa::mul(cap, Math<Isa>::tanh(Isa::div(s, cap)));
            }
            if (w.task.alibi_slopes) {
                const F distance =
                    Isa::sub(lane_numbers(), Isa::set(static_cast<float>(w.position(line) - block * kPositions - 16 * v)));
                s = Isa::fma(Isa::set(w.task.alibi_slopes[w.head(line)]), distance, s);
            }
            if (begin > 0 || end < kPositions)
                s = Isa::keep_lanes(s, within_lanes(begin - 16 * v), within_lanes(end - 16 * v), nothing);
            Isa::store(scores + 16 * v, s);
            largest = Isa::max(largest, s);
        }
        return Isa::largest(largest);
    }

    // sums [L][head_dim] = sums * factor + weights V, positions in ascending order.
    template <int element, int L>
    static void mix(const Work& w, const std::byte* values, int group, const float (&factors)[16], int begin, int end) {
        const int dim = w.task.head_dim;
        float* sums = w.sums + group * w.width;
        int d = 0;
        for (; d + 16 * kVectors <= w.width; d += 16 * kVectors)
            mix_columns<element, L, kVectors>(w, values, sums + d, d, dim, factors, begin, end);
        for (; d < w.width; d += 16) mix_columns<element, L, 1>(w, values, sums + d, d, dim, factors, begin, end);
    }
    // The last vector of an odd head_dim reads into the next position's values; those lanes are never written out.
    template <int element, int L, int V>
    static NARAE_INLINE void mix_columns(const Work& w, const std::byte* values, float* sums, int column, int dim,
                                         const float (&factors)[16], int begin, int end) {
        F acc[L][V];
        NARAE_UNROLL
        for (int i = 0; i < L; ++i) {
            NARAE_UNROLL
            for (int v = 0; v < V; ++v) acc[i][v] = Isa::mul(Isa::load(sums + i * w.width + 16 * v), Isa::set(factors[i]));
        }
        for (int j = begin; j < end; ++j) {
            F value[V];
            NARAE_UNROLL
            for (int v = 0; v < V; ++v) value[v] = load<element>(values, static_cast<std::int64_t>(j) * dim + column + 16 * v);
            NARAE_UNROLL
            for (int i = 0; i < L; ++i) {
                const F weight = Isa::broadcast(w.scores + i * kPositions + j);
                NARAE_UNROLL
                for (int v = 0; v < V; ++v) acc[i][v] = Isa::fma(weight, value[v], acc[i][v]);
            }
        }
        NARAE_UNROLL
        for (int i = 0; i < L; ++i) {
            NARAE_UNROLL
            for (int v = 0; v < V; ++v) Isa::store(sums + i * w.width + 16 * v, acc[i][v]);
        }
    }

    static void end_span(const Work& w) {
        for (int line = 0; line < w.lines; ++line) {
            Line& state = w.state[line];
            if (state.largest == kNothing) continue;
            float *sums = w.sums + line * w.width, *totals = w.totals + line * w.width;
            const float now = larger(state.total_largest, state.largest);
            // The first span is taken as it is.
            const bool only = state.total_largest == kNothing;
            const F before = only ? Isa::zero() : Math<Isa>::exp(Isa::set(state.total_largest - now));
            const F here = only ? Isa::set(1.0f) : Math<Isa>::exp(Isa::set(state.largest - now));
            Isa::store(state.total_sums, Isa::fma(Isa::load(state.total_sums), before, Isa::mul(Isa::load(state.sums), here)));
            Isa::store(state.sums, Isa::zero());
            for (std::int64_t d = 0; d < w.width; d += 16) {
                Isa::store(totals + d, Isa::fma(Isa::load(totals + d), before, Isa::mul(Isa::load(sums + d), here)));
                Isa::store(sums + d, Isa::zero());
            }
            state.total_largest = now;
            state.largest = kNothing;
        }
    }

    static void write(const Work& w) {
        const std::int64_t dim = w.task.head_dim, columns = w.task.heads * dim;
        for (int line = 0; line < w.lines; ++line) {
            const F inverse = Isa::set(1.0f / Isa::sum(Isa::load(w.state[line].total_sums)));
            float* out = w.task.out + (w.item.first_row + line / w.share) * columns + w.head(line) * dim;
            for (std::int64_t d = 0; d < dim; d += 16)
                Isa::store(out + d, Isa::mul(Isa::load(w.totals + line * w.width + d), inverse),
                           static_cast<int>(smaller<std::int64_t>(16, dim - d)));
        }
    }

    template <int element>
    static constexpr std::int64_t kBytes = element == 0 ? 4 : 2;

    template <int element>
    static NARAE_INLINE F load(const std::byte* at, std::int64_t index) {
        if constexpr (element == 0) return Isa::load(reinterpret_cast<const float*>(at) + index);
        if constexpr (element == 1) return Isa::load_f16(at + index * 2);
        return Isa::load_bf16(at + index * 2);
    }
    static NARAE_INLINE int within_lanes(int lane) { return smaller(16, larger(0, lane)); }
    static NARAE_INLINE F lane_numbers() {
        alignas(64) static constexpr float kNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        return Isa::load(kNumbers);
    }
};

}  // namespace narae::kernels::cpu
