// The inner loops: P panels x T tokens, all sums in registers. Every sum of an output is one f32 accumulator that takes the
// blocks (integers) or inputs (f32) in ascending order, whatever P and T, so that a token's result does not depend on its
// company. `sums` is f32 [T][P][16], continued from an earlier piece of the inputs unless `first`.
#pragma once

#include "kernels/cpu/layout.h"

namespace narae::kernels::cpu {

// What a tile asks for beforehand, so that memory works while it computes: for every block (or pair of inputs) the cache lines
// of [panels[p] + block * step, ... + bytes).
struct Ahead {
    const std::byte* panels[2] = {};
    std::int64_t step = 0, bytes = 0;
};

template <class Isa>
struct TileProduct {
    using F = typename Isa::F;
    using I = typename Isa::I;

    // A single row reads so far ahead: more than a first-level cache's misses in flight can hide, in the second-level cache.
    static constexpr std::int64_t kFar = 6144;

    static NARAE_INLINE void ask(const Ahead& ahead, std::int64_t index) {
        for (int p = 0; p < 2; ++p) {
            if (!ahead.panels[p]) continue;
            const std::byte* at = ahead.panels[p] + index * ahead.step;
            for (std::int64_t line = 0; line < ahead.bytes; line += 64) Isa::prefetch(at + line);
        }
    }

    // Wide blocks; S scales a block, M: minimums. Or q8 blocks as they lie in memory.
    template <int P, int T, int S, bool M, bool q8>
    static void codes(std::int64_t blocks, const std::byte* const* panels, const std::byte* x, float* sums, bool first,
                      const Ahead& ahead) {
        constexpr int kStep = q8 ? kCodeBytes + 32 : kCodeBytes + 64 * S * (M ? 2 : 1), kRun = kCodeVectors / S;
        F acc[P][T];
        load_sums<P, T>(acc, sums, first);
        const std::byte* w[P];
        for (int p = 0; p < P; ++p) w[p] = panels[p];
        for (std::int64_t b = 0; b < blocks; ++b) {
            ask(ahead, b);
            const std::byte* numbers = x + T * kBlock;
            NARAE_UNROLL
            for (int s = 0; s < S; ++s) {
                I dot[P][T];
                NARAE_UNROLL
                for (int t = 0; t < T; ++t) {
                    const I start = Isa::dot_start(numbers + 4 * (T + s * T + t));
                    NARAE_UNROLL
                    for (int p = 0; p < P; ++p) dot[p][t] = start;
                }
                NARAE_UNROLL
                for (int v = s * kRun; v < (s + 1) * kRun; ++v) {
                    I codes[P];
                    NARAE_UNROLL
                    for (int p = 0; p < P; ++p) codes[p] = Isa::load_int(w[p] + v * 64);
                    NARAE_UNROLL
                    for (int t = 0; t < T; ++t) {
                        const I a = Isa::broadcast_int(x + t * kBlock + v * 4);
                        NARAE_UNROLL
                        for (int p = 0; p < P; ++p) dot[p][t] = Isa::dot(dot[p][t], codes[p], a);
                    }
                }
                F scale[P];
                NARAE_UNROLL
                for (int p = 0; p < P; ++p)
                    scale[p] = q8 ? Isa::load_f16(w[p] + kCodeBytes) : Isa::load(floats(w[p] + kCodeBytes + 64 * s));
                NARAE_UNROLL
                for (int t = 0; t < T; ++t) {
                    const F activation_scale = Isa::broadcast(floats(numbers + 4 * t));
                    NARAE_UNROLL
                    for (int p = 0; p < P; ++p)
                        acc[p][t] = Isa::fma(Isa::to_float(dot[p][t]), Isa::mul(scale[p], activation_scale), acc[p][t]);
                }
                if constexpr (M) {
                    NARAE_UNROLL
                    for (int p = 0; p < P; ++p) scale[p] = Isa::load(floats(w[p] + kCodeBytes + 64 * (S + s)));
                    NARAE_UNROLL
                    for (int t = 0; t < T; ++t) {
                        const F sum = Isa::broadcast(floats(numbers + 4 * (T + S * T + s * T + t)));
                        NARAE_UNROLL
                        for (int p = 0; p < P; ++p) acc[p][t] = Isa::fma(scale[p], sum, acc[p][t]);
                    }
                }
            }
            for (int p = 0; p < P; ++p) w[p] += kStep;
            x += T * (kBlock + 4 + 8 * S);
        }
        store_sums<P, T>(acc, sums);
    }

    // f32 panels [inputs][16], tokens f32 [inputs][T].
    template <int P, int T>
    static void values(std::int64_t inputs, const float* const* panels, const float* x, float* sums, bool first,
                       const Ahead& ahead) {
        F acc[P][T];
        load_sums<P, T>(acc, sums, first);
        const float* w[P];
        for (int p = 0; p < P; ++p) w[p] = panels[p];
        for (std::int64_t k = 0; k < inputs; ++k) {
            if (k % 2 == 0) ask(ahead, k / 2);
            F value[P];
            NARAE_UNROLL
            for (int p = 0; p < P; ++p) value[p] = Isa::load(w[p] + k * 16);
            NARAE_UNROLL
            for (int t = 0; t < T; ++t) {
                const F a = Isa::broadcast(x + t);
                NARAE_UNROLL
                for (int p = 0; p < P; ++p) acc[p][t] = Isa::fma(value[p], a, acc[p][t]);
            }
            x += T;
        }
        store_sums<P, T>(acc, sums);
    }

    // One token against panels as they lie in memory: q4, q4_min, q8.
    template <bool M>
    static void one_q4(std::int64_t blocks, const std::byte* w, const std::byte* x, float* sums) {
        constexpr int kStep = M ? 320 : 288;
        F acc = Isa::zero();
        for (std::int64_t b = 0; b < blocks; ++b) {
            const std::byte* numbers = x + kBlock;
            I low = M ? Isa::zero_int() : Isa::template shift_right_signed<4>(Isa::broadcast_int(numbers + 4));
            I high = Isa::zero_int();
            NARAE_UNROLL
            for (int v = 0; v < 4; ++v) {
                Isa::prefetch(w + kFar + v * 64);
                Isa::dot_nibbles(low, high, Isa::load_int(w + v * 64), Isa::broadcast_int(x + v * 4),
                                 Isa::broadcast_int(x + 16 + v * 4));
            }
            const F scale = Isa::mul(Isa::load_f16(w + 256), Isa::broadcast(floats(numbers)));
            acc = Isa::fma(Isa::to_float(Isa::join_nibbles(low, high)), scale, acc);
            if constexpr (M) acc = Isa::fma(Isa::load_f16(w + 288), Isa::broadcast(floats(numbers + 8)), acc);
            w += kStep;
            x += kBlock + 12;
        }
        Isa::store(sums, acc);
    }
    static void one_q8(std::int64_t blocks, const std::byte* w, const std::byte* x, float* sums) {
        F acc = Isa::zero();
        for (std::int64_t b = 0; b < blocks; ++b) {
            const std::byte* numbers = x + kBlock;
            I dot = Isa::dot_start(numbers + 4), second = Isa::zero_int();
            NARAE_UNROLL
            for (int v = 0; v < kCodeVectors; v += 2) {
                Isa::prefetch(w + kFar + v * 64);
                Isa::prefetch(w + kFar + v * 64 + 64);
                dot = Isa::dot(dot, Isa::load_int(w + v * 64), Isa::broadcast_int(x + v * 4));
                second = Isa::dot(second, Isa::load_int(w + v * 64 + 64), Isa::broadcast_int(x + v * 4 + 4));
            }
            const F scale = Isa::mul(Isa::load_f16(w + kCodeBytes), Isa::broadcast(floats(numbers)));
            acc = Isa::fma(Isa::to_float(Isa::add_int(dot, second)), scale, acc);
            w += 544;
            x += kBlock + 12;
        }
        Isa::store(sums, acc);
    }

    // The same for q6k; x in the form with two sums a block. Codes stay unsigned, 32 above their value; the sums make up for
    // it.
    static void one_q6k(std::int64_t blocks, const std::byte* w, const std::byte* x, float* sums) {
        constexpr std::int64_t kInput = kBlock + 20;
        const I low = Isa::set_bytes(0x0f), high = Isa::set_bytes(0x30);
        F acc = Isa::zero();
        for (std::int64_t b = 0; b < blocks; b += kSuperBlock / kBlock) {
            const F scale = Isa::load_f16(w + 52 * 64);
            for (int half = 0; half < 2; ++half) {
                const std::byte *first = w + half * 16 * 64, *second = first + 8 * 64, *pairs = w + (32 + half * 8) * 64;
                I dots[4][2];
                NARAE_UNROLL
                for (int i = 0; i < 4; ++i) {
                    NARAE_UNROLL
                    for (int s = 0; s < 2; ++s)
                        dots[i][s] =
                            Isa::template shift_right_signed<2>(Isa::broadcast_int(x + i * kInput + kBlock + 4 + 4 * s));
                }
                NARAE_UNROLL
                for (int j = 0; j < kCodeVectors; ++j) {
                    const I a = Isa::load_int(first + j * 64), c = Isa::load_int(second + j * 64);
                    const I h = Isa::load_int(pairs + j * 64);
                    const I codes[4] = {Isa::bit_or(Isa::bit_and(a, low), Isa::bit_and(Isa::template shift_left<4>(h), high)),
                                        Isa::bit_or(Isa::bit_and(c, low), Isa::bit_and(Isa::template shift_left<2>(h), high)),
                                        Isa::bit_or(Isa::bit_and(Isa::template shift_right<4>(a), low), Isa::bit_and(h, high)),
                                        Isa::bit_or(Isa::bit_and(Isa::template shift_right<4>(c), low),
                                                    Isa::bit_and(Isa::template shift_right<2>(h), high))};
                    NARAE_UNROLL
                    for (int i = 0; i < 4; ++i)
                        dots[i][j / 4] = Isa::dot_small(dots[i][j / 4], codes[i], Isa::broadcast_int(x + i * kInput + j * 4));
                }
                NARAE_UNROLL
                for (int i = 0; i < 4; ++i) {
                    const I four = Isa::load_int(w + (48 + half * 2 + i / 2) * 64);
                    const F activation_scale = Isa::broadcast(floats(x + i * kInput + kBlock));
                    const I shifted = i % 2 == 0 ? four : Isa::template shift_right<16>(four);
                    const I runs[2] = {Isa::template shift_right_signed<24>(Isa::template shift_left<24>(shifted)),
                                       Isa::template shift_right_signed<24>(Isa::template shift_left<16>(shifted))};
                    NARAE_UNROLL
                    for (int s = 0; s < 2; ++s) {
                        const F run_scale = Isa::mul(scale, Isa::to_float(runs[s]));
                        acc = Isa::fma(Isa::to_float(dots[i][s]), Isa::mul(run_scale, activation_scale), acc);
                    }
                }
                x += 4 * kInput;
            }
            w += kQ6kBytes;
        }
        Isa::store(sums, acc);
    }

    // One token against P dense panels as they lie in memory, several at once to hide the latency of the sums. `next` is where
    // the same panels of the following strip begin.
    template <Kind kind, int P>
    static void one_dense(std::int64_t inputs, const std::byte* const* panels, const std::byte* const* next, const float* x,
                          float* sums) {
        constexpr std::int64_t kBytes = kind == Kind::f32 ? 64 : 32, kInputsAhead = kFar / kBytes;
        F acc[P];
        NARAE_UNROLL
        for (int p = 0; p < P; ++p) acc[p] = Isa::zero();
        const std::int64_t turn = inputs > kInputsAhead ? (inputs - kInputsAhead) / 2 * 2 : 0, even = inputs / 2 * 2;
        const std::byte* far[P];
        for (int p = 0; p < P; ++p) far[p] = panels[p] + kFar;
        dense_inputs<kind, P>(0, turn, panels, far, x, acc);
        for (int p = 0; p < P; ++p) far[p] = (next[p] ? next[p] : panels[p]) - turn * kBytes;
        dense_inputs<kind, P>(turn, even, panels, far, x, acc);
        for (std::int64_t k = even; k < inputs; ++k)
            for (int p = 0; p < P; ++p) acc[p] = Isa::fma(load_one<kind>(panels[p], k), Isa::broadcast(x + k), acc[p]);
        NARAE_UNROLL
        for (int p = 0; p < P; ++p) Isa::store(sums + 16 * p, acc[p]);
    }

private:
    template <Kind kind, int P>
    static NARAE_INLINE void dense_inputs(std::int64_t begin, std::int64_t end, const std::byte* const* panels,
                                          const std::byte* const* far, const float* x, F (&acc)[P]) {
        constexpr std::int64_t kBytes = kind == Kind::f32 ? 64 : 32;
        for (std::int64_t k = begin; k < end; k += 2) {
            const F first = Isa::broadcast(x + k), second = Isa::broadcast(x + k + 1);
            NARAE_UNROLL
            for (int p = 0; p < P; ++p) {
                Isa::prefetch(far[p] + k * kBytes);
                if (kind == Kind::f32) Isa::prefetch(far[p] + k * kBytes + 64);
                F a, b;
                load_two<kind>(panels[p], k, a, b);
                acc[p] = Isa::fma(a, first, acc[p]);
                acc[p] = Isa::fma(b, second, acc[p]);
            }
        }
    }
    template <Kind kind>
    static NARAE_INLINE F load_one(const std::byte* w, std::int64_t k) {
        if constexpr (kind == Kind::f32) return Isa::load(floats(w) + k * 16);
        if constexpr (kind == Kind::f16) return Isa::load_f16(w + k * 32);
        return Isa::as_float(Isa::template shift_left<16>(Isa::load_int(w + k * 32)));
    }
    template <Kind kind>
    static NARAE_INLINE void load_two(const std::byte* w, std::int64_t k, F& a, F& b) {
        if constexpr (kind == Kind::bf16) {
            const I pair = Isa::load_int(w + k * 32);
            a = Isa::as_float(Isa::template shift_left<16>(pair));
            b = Isa::as_float(Isa::template shift_left<16>(Isa::template shift_right<16>(pair)));
        } else {
            a = load_one<kind>(w, k);
            b = load_one<kind>(w, k + 1);
        }
    }
    template <int P, int T>
    static NARAE_INLINE void load_sums(F (&acc)[P][T], const float* sums, bool first) {
        NARAE_UNROLL
        for (int t = 0; t < T; ++t) {
            NARAE_UNROLL
            for (int p = 0; p < P; ++p) acc[p][t] = first ? Isa::zero() : Isa::load(sums + (t * P + p) * 16);
        }
    }
    template <int P, int T>
    static NARAE_INLINE void store_sums(const F (&acc)[P][T], float* sums) {
        NARAE_UNROLL
        for (int t = 0; t < T; ++t) {
            NARAE_UNROLL
            for (int p = 0; p < P; ++p) Isa::store(sums + (t * P + p) * 16, acc[p][t]);
        }
    }
    static NARAE_INLINE const float* floats(const std::byte* p) { return reinterpret_cast<const float*>(p); }
};

}  // namespace narae::kernels::cpu
