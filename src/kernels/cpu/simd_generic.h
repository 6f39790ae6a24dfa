// Sixteen lanes in plain C++, and what every instruction set's Isa offers:
//   F, I              sixteen float32; sixteen int32, or 64 bytes
//   kIntPanels ...    the register tile of the products: panels (of 16 rows) x tokens; attention: lines x vectors
//   dot               sum[lane] += the four codes of that lane x the four activations; codes are bytes 128 + code, code an
//                     int8 in [-128, 127], activations int8 in [-127, 127]. Where kCodesAreUnsigned the 128 stays in the sum
//                     and dot_start() takes it out beforehand; elsewhere dot_start() is 0
//   dot_small         the same for unsigned codes up to 127, without the 128
//   dot_nibbles       two 4-bit codes (unsigned) a byte, with two groups of four activations; join_nibbles adds the halves
//   keep_lanes        a in lanes [begin, end), 0 <= begin, end <= 16, `other` elsewhere
//   scale_by_power    a * 2^power, power a whole number in [-126, 127]
//   largest, max      a NaN may be lost
//   prefetch          towards the second-level cache
#pragma once

#include "kernels/cpu/inline.h"

namespace narae::kernels::cpu::generic {

struct Isa {
    struct F {
        float lane[16];
    };
    struct I {
        std::int32_t lane[16];
    };
    static constexpr int kIntPanels = 1, kIntTokens = 4;
    static constexpr int kFloatPanels = 1, kFloatTokens = 4;
    static constexpr int kAttentionLines = 4, kAttentionVectors = 1;
    static constexpr bool kCodesAreUnsigned = false;

    template <class Lane>
    static NARAE_INLINE F each(Lane lane) {
        F r;
        for (int i = 0; i < 16; ++i) r.lane[i] = lane(i);
        return r;
    }
    template <class Lane>
    static NARAE_INLINE I each_int(Lane lane) {
        I r;
        for (int i = 0; i < 16; ++i) r.lane[i] = lane(i);
        return r;
    }
    template <class Byte>
    static NARAE_INLINE I each_byte(Byte byte) {
        std::uint8_t bytes[64];
        for (int i = 0; i < 64; ++i) bytes[i] = static_cast<std::uint8_t>(byte(i));
        return load_int(bytes);
    }

    static NARAE_INLINE F zero() { return set(0.0f); }
    static NARAE_INLINE F set(float x) {
        return each([&](int) { return x; });
    }
    static NARAE_INLINE F broadcast(const float* x) { return set(*x); }
    static NARAE_INLINE F load(const float* x) { return load(x, 16); }
    static NARAE_INLINE F load(const float* x, int count) {
        return each([&](int i) { return i < count ? x[i] : 0.0f; });
    }
    static NARAE_INLINE void store(float* x, F a) { store(x, a, 16); }
    static NARAE_INLINE void store(float* x, F a, int count) {
        for (int i = 0; i < count; ++i) x[i] = a.lane[i];
    }
    static NARAE_INLINE F load_f16(const void* x) {
        const I bits = load_halves(x);
        return each([&](int i) { return half_to_float(static_cast<std::uint32_t>(bits.lane[i])); });
    }
    static NARAE_INLINE F load_bf16(const void* x) {
        const I bits = load_halves(x);
        return each([&](int i) { return as_float(static_cast<std::uint32_t>(bits.lane[i]) << 16); });
    }
    static NARAE_INLINE F add(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] + b.lane[i]; });
    }
    static NARAE_INLINE F sub(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] - b.lane[i]; });
    }
    static NARAE_INLINE F mul(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] * b.lane[i]; });
    }
    static NARAE_INLINE F div(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] / b.lane[i]; });
    }
    static NARAE_INLINE F reciprocal(const F& a) { return div(set(1.0f), a); }
    static NARAE_INLINE F fma(const F& a, const F& b, const F& c) {
        return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
    }
    static NARAE_INLINE F max(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
    }
    static NARAE_INLINE F min(const F& a, const F& b) {
        return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
    }
    static NARAE_INLINE F abs(const F& a) {
        return each([&](int i) { return __builtin_fabsf(a.lane[i]); });
    }
    static NARAE_INLINE F copy_sign(const F& magnitude, const F& sign) {
        return each([&](int i) { return __builtin_copysignf(magnitude.lane[i], sign.lane[i]); });
    }
    static NARAE_INLINE F round(const F& a) {
        return each([&](int i) { return round_to_even(a.lane[i]); });
    }
    static NARAE_INLINE F scale_by_power(const F& a, const F& power) {
        return each([&](int i) {
            const float p = power.lane[i];
            // A NaN comes with a NaN to scale; it has no integer.
            return a.lane[i] * as_float(static_cast<std::uint32_t>((p == p ? static_cast<int>(p) : 0) + 127) << 23);
        });
    }
    static NARAE_INLINE F select_less(const F& a, const F& b, const F& yes, const F& no) {
        return each([&](int i) { return a.lane[i] < b.lane[i] ? yes.lane[i] : no.lane[i]; });
    }
    static NARAE_INLINE F keep_lanes(const F& a, int begin, int end, const F& other) {
        return each([&](int i) { return i >= begin && i < end ? a.lane[i] : other.lane[i]; });
    }
    static NARAE_INLINE float sum(const F& a) {
        float part[8];
        for (int i = 0; i < 8; ++i) part[i] = a.lane[i] + a.lane[i + 8];
        for (int width = 4; width > 0; width /= 2)
            for (int i = 0; i < width; ++i) part[i] = part[i] + part[i + width];
        return part[0];
    }
    static NARAE_INLINE float largest(const F& a) {
        float r = a.lane[0];
        for (int i = 1; i < 16; ++i) r = a.lane[i] > r ? a.lane[i] : r;
        return r;
    }

    static NARAE_INLINE F to_float(const I& a) {
        return each([&](int i) { return static_cast<float>(a.lane[i]); });
    }
    static NARAE_INLINE F as_float(const I& a) {
        F r;
        __builtin_memcpy(&r, &a, sizeof r);
        return r;
    }
    static NARAE_INLINE I to_int(const F& a) {
        return each_int([&](int i) { return static_cast<std::int32_t>(round_to_even(a.lane[i])); });
    }
    static NARAE_INLINE I zero_int() {
        return each_int([](int) { return 0; });
    }
    static NARAE_INLINE I broadcast_int(const void* x) {
        std::int32_t value;
        __builtin_memcpy(&value, x, sizeof value);
        return each_int([&](int) { return value; });
    }
    static NARAE_INLINE I load_int(const void* x) {
        I r;
        __builtin_memcpy(&r, x, sizeof r);
        return r;
    }
    static NARAE_INLINE void store_int(void* x, const I& a) { __builtin_memcpy(x, &a, sizeof a); }
    static NARAE_INLINE I add_int(const I& a, const I& b) {
        return each_int([&](int i) { return a.lane[i] + b.lane[i]; });
    }
    static NARAE_INLINE int sum_int(const I& a) {
        int r = 0;
        for (int i = 0; i < 16; ++i) r += a.lane[i];
        return r;
    }
    static NARAE_INLINE void store_low_bytes(void* x, const I& a) {
        for (int i = 0; i < 16; ++i) static_cast<std::int8_t*>(x)[i] = static_cast<std::int8_t>(a.lane[i]);
    }
    static NARAE_INLINE I set_bytes(int x) {
        return each_byte([&](int) { return x; });
    }
    static NARAE_INLINE I add_bytes(const I& a, const I& b) {
        return each_byte([&](int i) { return byte_of(a, i) + byte_of(b, i); });
    }
    static NARAE_INLINE I bit_and(const I& a, const I& b) {
        return each_int([&](int i) { return a.lane[i] & b.lane[i]; });
    }
    static NARAE_INLINE I bit_or(const I& a, const I& b) {
        return each_int([&](int i) { return a.lane[i] | b.lane[i]; });
    }
    template <int n>
    static NARAE_INLINE I shift_left(const I& a) {
        return each_int([&](int i) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) << n); });
    }
    template <int n>
    static NARAE_INLINE I shift_right(const I& a) {
        return each_int([&](int i) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) >> n); });
    }
    template <int n>
    static NARAE_INLINE I shift_right_signed(const I& a) {
        return each_int([&](int i) { return a.lane[i] >> n; });
    }

    static NARAE_INLINE I dot(const I& sum, const I& codes, const I& activations) {
        return each_int([&](int i) {
            std::int32_t r = sum.lane[i];
            for (int j = 0; j < 4; ++j) r += (byte_of(codes, 4 * i + j) - 128) * signed_byte_of(activations, 4 * i + j);
            return r;
        });
    }
    static NARAE_INLINE I dot_small(const I& sum, const I& codes, const I& activations) {
        return each_int([&](int i) {
            std::int32_t r = sum.lane[i];
            for (int j = 0; j < 4; ++j) r += byte_of(codes, 4 * i + j) * signed_byte_of(activations, 4 * i + j);
            return r;
        });
    }
    static NARAE_INLINE I dot_start(const void*) { return zero_int(); }
    static NARAE_INLINE void dot_nibbles(I& low, I& high, const I& codes, const I& activations_low, const I& activations_high) {
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 4; ++j) {
                const int code = byte_of(codes, 4 * i + j);
                low.lane[i] += (code & 15) * signed_byte_of(activations_low, 4 * i + j);
                high.lane[i] += (code >> 4) * signed_byte_of(activations_high, 4 * i + j);
            }
    }
    static NARAE_INLINE I join_nibbles(const I& low, const I& high) { return add_int(low, high); }

    static NARAE_INLINE void store_f16(void* x, const F& a, int count) {
        for (int i = 0; i < count; ++i) store_half(x, i, float_to_half(as_bits(a.lane[i])));
    }
    static NARAE_INLINE void store_bf16(void* x, const F& a, int count) {
        for (int i = 0; i < count; ++i) {
            const std::uint32_t bits = as_bits(a.lane[i]);
            const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
            store_half(x, i, is_nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
        }
    }
    static NARAE_INLINE void prefetch(const void* x) { __builtin_prefetch(x, 0, 2); }

private:
    static NARAE_INLINE int byte_of(const I& a, int i) {
        return static_cast<int>(static_cast<std::uint32_t>(a.lane[i / 4]) >> (8 * (i % 4)) & 255u);
    }
    static NARAE_INLINE int signed_byte_of(const I& a, int i) { return static_cast<std::int8_t>(byte_of(a, i)); }
    static NARAE_INLINE float as_float(std::uint32_t bits) {
        float r;
        __builtin_memcpy(&r, &bits, sizeof r);
        return r;
    }
    static NARAE_INLINE std::uint32_t as_bits(float x) {
        std::uint32_t r;
        __builtin_memcpy(&r, &x, sizeof r);
        return r;
    }
    // Adding and taking away 1.5 x 2^23 rounds to a whole number in the processor's mode, to nearest even.
    static NARAE_INLINE float round_to_even(float x) {
        constexpr float kMagic = 12582912.0f;
        return __builtin_fabsf(x) < 4194304.0f ? x + kMagic - kMagic : x;
    }
    static NARAE_INLINE I load_halves(const void* x) {
        std::uint16_t bits[16];
        __builtin_memcpy(bits, x, sizeof bits);
        return each_int([&](int i) { return static_cast<std::int32_t>(bits[i]); });
    }
    static NARAE_INLINE void store_half(void* x, int i, std::uint32_t bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        __builtin_memcpy(static_cast<char*>(x) + 2 * i, &half, sizeof half);
    }
    static NARAE_INLINE float half_to_float(std::uint32_t half) {
        const std::uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
        if (magnitude >= 0x7c00u) return as_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
        // Rebiases the exponent by a product, which also normalizes subnormals.
        return as_float(sign | as_bits(as_float(magnitude << 13) * as_float(0x77800000u)));
    }
    static NARAE_INLINE std::uint32_t float_to_half(std::uint32_t bits) {
        const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
        if (magnitude > 0x7f800000u) return sign | 0x7e00u | (magnitude >> 13 & 0x3ffu);
        if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
        // Below 2^-14: the sum with 0.5 leaves the subnormal's bits, rounded, at the bottom.
        if (magnitude < 0x38800000u) return sign | (as_bits(as_float(magnitude) + 0.5f) - 0x3f000000u);
        return sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
};

}  // namespace narae::kernels::cpu::generic
