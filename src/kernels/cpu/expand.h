// From a panel's own layout to what a tile of several tokens reads: wide blocks (codes + 128 and f32 scales), or f32 values.
// Both are small pieces of a panel that stay in the first-level cache while all tokens pass.
#pragma once

#include "kernels/cpu/layout.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Expand {
    using F = typename Isa::F;
    using I = typename Isa::I;

    // Blocks [begin, end) of 32 inputs; for q6k multiples of 8. Not for q8 and wide panels, which are read as they are. Asks
    // for the first `ask` bytes of each block that comes next, at `coming`.
    static NARAE_INLINE void codes(Kind kind, const std::byte* panel, std::int64_t begin, std::int64_t end, std::byte* to,
                                   const std::byte* coming, std::int64_t ask) {
        switch (kind) {
            case Kind::q4:
                return nibbles<false>(panel + begin * 288, end - begin, to, coming, ask);
            case Kind::q4_min:
                return nibbles<true>(panel + begin * 320, end - begin, to, coming, ask);
            default:
                for (std::int64_t b = begin / 8; b < end / 8; ++b) {
                    for (std::int64_t line = 0; line < 8 * ask; line += 64) Isa::prefetch(coming + line);
                    coming += kQ6kBytes;
                    q6k(panel + b * kQ6kBytes, to);
                    to += 8 * expanded_bytes(Kind::q6k);
                }
        }
    }

    // Inputs [begin, end) as f32 [end - begin][16], exactly as the format's unpack gives them. `begin` is a multiple of 32, for
    // q6k of 256; `spare` holds the wide blocks in between.
    static NARAE_INLINE void values(Kind kind, const std::byte* panel, std::int64_t begin, std::int64_t end, std::byte* spare,
                                    float* to) {
        if (kind == Kind::f16) {
            for (std::int64_t k = begin; k < end; ++k) Isa::store(to + (k - begin) * 16, Isa::load_f16(panel + k * 32));
        } else if (kind == Kind::bf16) {
            for (std::int64_t k = begin; k < end; k += 2) {
                const I pair = Isa::load_int(panel + k * 32);
                Isa::store_int(to + (k - begin) * 16, Isa::template shift_left<16>(pair));
                if (k + 1 < end)
                    Isa::store_int(to + (k - begin) * 16 + 16,
                                   Isa::template shift_left<16>(Isa::template shift_right<16>(pair)));
            }
        } else {
            const std::byte* blocks = spare;
            if (is_wide(kind))
                blocks = panel + begin / kBlock * expanded_bytes(kind);
            else if (kind == Kind::q8)
                bytes(panel + begin / kBlock * 544, (end - begin) / kBlock, spare);
            else
                codes(kind, panel, begin / kBlock, end / kBlock, spare, panel, 0);
            for (std::int64_t b = 0; b < (end - begin) / kBlock; ++b)
                dequantize(kind, blocks + b * expanded_bytes(kind), to + b * kBlock * 16);
        }
    }

private:
    template <bool minimum>
    static NARAE_INLINE void nibbles(const std::byte* from, std::int64_t count, std::byte* to, const std::byte* coming,
                                     std::int64_t ask) {
        const I mask = Isa::set_bytes(0x0f), lift = Isa::set_bytes(minimum ? 128 : 120);
        for (std::int64_t b = 0; b < count; ++b) {
            for (std::int64_t line = 0; line < ask; line += 64) Isa::prefetch(coming + line);
            coming += minimum ? 320 : 288;
            NARAE_UNROLL
            for (int v = 0; v < 4; ++v) {
                const I both = Isa::load_int(from + v * 64);
                Isa::store_int(to + v * 64, Isa::add_bytes(Isa::bit_and(both, mask), lift));
                Isa::store_int(to + (4 + v) * 64, Isa::add_bytes(Isa::bit_and(Isa::template shift_right<4>(both), mask), lift));
            }
            Isa::store(floats(to + kCodeBytes), Isa::load_f16(from + 256));
            if (minimum) Isa::store(floats(to + kCodeBytes + 64), Isa::load_f16(from + 288));
            from += minimum ? 320 : 288;
            to += kCodeBytes + (minimum ? 128 : 64);
        }
    }

    static NARAE_INLINE void bytes(const std::byte* from, std::int64_t count, std::byte* to) {
        for (std::int64_t b = 0; b < count; ++b) {
            NARAE_UNROLL
            for (int v = 0; v < kCodeVectors; ++v) Isa::store_int(to + v * 64, Isa::load_int(from + v * 64));
            Isa::store(floats(to + kCodeBytes), Isa::load_f16(from + kCodeBytes));
            from += 544;
            to += kCodeBytes + 64;
        }
    }

    static NARAE_INLINE void q6k(const std::byte* from, std::byte* to) {
        constexpr std::int64_t kStep = kCodeBytes + 128;
        const I low = Isa::set_bytes(0x0f), high = Isa::set_bytes(0x30), lift = Isa::set_bytes(128 - 32);
        const std::byte* pairs = from + 32 * 64;
        for (int half = 0; half < 2; ++half) {
            const std::byte* first = from + half * 16 * 64;
            std::byte* block = to + half * 4 * kStep;
            for (int j = 0; j < kCodeVectors; ++j) {
                const I a = Isa::load_int(first + j * 64), b = Isa::load_int(first + (8 + j) * 64);
                const I h = Isa::load_int(pairs + (8 * half + j) * 64);
                put(block + j * 64, Isa::bit_and(a, low), Isa::bit_and(Isa::template shift_left<4>(h), high), lift);
                put(block + kStep + j * 64, Isa::bit_and(b, low), Isa::bit_and(Isa::template shift_left<2>(h), high), lift);
                put(block + 2 * kStep + j * 64, Isa::bit_and(Isa::template shift_right<4>(a), low), Isa::bit_and(h, high),
                    lift);
                put(block + 3 * kStep + j * 64, Isa::bit_and(Isa::template shift_right<4>(b), low),
                    Isa::bit_and(Isa::template shift_right<2>(h), high), lift);
            }
        }
        const std::byte* scales = from + 48 * 64;
        const F scale = Isa::load_f16(from + 52 * 64);
        for (int v = 0; v < 4; ++v) {
            const I four = Isa::load_int(scales + v * 64);
            std::byte* block = to + 2 * v * kStep + kCodeBytes;
            put_scale<24>(block, four, scale);
            put_scale<16>(block + 64, four, scale);
            put_scale<8>(block + kStep, four, scale);
            put_scale<0>(block + kStep + 64, four, scale);
        }
    }

    static NARAE_INLINE void put(std::byte* to, I low, I high, I lift) {
        Isa::store_int(to, Isa::add_bytes(Isa::bit_or(low, high), lift));
    }
    template <int left>
    static NARAE_INLINE void put_scale(std::byte* to, I four, F scale) {
        const I one = Isa::template shift_right_signed<24>(Isa::template shift_left<left>(four));
        Isa::store(floats(to), Isa::mul(scale, Isa::to_float(one)));
    }

    static NARAE_INLINE void dequantize(Kind kind, const std::byte* block, float* to) {
        const int runs = scales_of(kind);
        const F offset = Isa::set(128.0f);
        for (int run = 0; run < runs; ++run) {
            const F scale = Isa::load(floats(block + kCodeBytes + run * 64));
            const F minimum = has_minimum(kind) ? Isa::load(floats(block + kCodeBytes + (runs + run) * 64)) : Isa::zero();
            for (int v = run * kCodeVectors / runs; v < (run + 1) * kCodeVectors / runs; ++v) {
                const I four = Isa::load_int(block + v * 64);
                float* at = to + v * 4 * 16;
                put_value<24>(at, four, offset, scale, minimum, has_minimum(kind));
                put_value<16>(at + 16, four, offset, scale, minimum, has_minimum(kind));
                put_value<8>(at + 32, four, offset, scale, minimum, has_minimum(kind));
                put_value<0>(at + 48, four, offset, scale, minimum, has_minimum(kind));
            }
        }
    }
    template <int left>
    static NARAE_INLINE void put_value(float* to, I four, F offset, F scale, F minimum, bool with_minimum) {
        const I code = Isa::template shift_right<24>(Isa::template shift_left<left>(four));
        const F value = Isa::mul(Isa::sub(Isa::to_float(code), offset), scale);
        Isa::store(to, with_minimum ? Isa::add(value, minimum) : value);
    }

    static NARAE_INLINE const float* floats(const std::byte* p) { return reinterpret_cast<const float*>(p); }
    static NARAE_INLINE float* floats(std::byte* p) { return reinterpret_cast<float*>(p); }
};

}  // namespace narae::kernels::cpu
