// Sixteen lanes as two registers of AVX2 with FMA and F16C. See simd_generic.h for what each operation means.
#pragma once

#include "kernels/cpu/inline.h"

#include <immintrin.h>

namespace narae::kernels::cpu::avx2 {

struct Isa {
    struct F {
        __m256 a, b;
    };
    struct I {
        __m256i a, b;
    };
    static constexpr int kIntPanels = 1, kIntTokens = 4;
    static constexpr int kFloatPanels = 1, kFloatTokens = 6;
    static constexpr int kAttentionLines = 6, kAttentionVectors = 1;
    static constexpr bool kCodesAreUnsigned = false;

    static NARAE_INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
    static NARAE_INLINE F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
    static NARAE_INLINE F broadcast(const float* x) { return {_mm256_broadcast_ss(x), _mm256_broadcast_ss(x)}; }
    static NARAE_INLINE F load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
    static NARAE_INLINE F load(const float* x, int count) {
        if (count == 16) return load(x);
        return {_mm256_maskload_ps(x, below(count, 0)), _mm256_maskload_ps(x + 8, below(count, 8))};
    }
    static NARAE_INLINE void store(float* x, F v) {
        _mm256_storeu_ps(x, v.a);
        _mm256_storeu_ps(x + 8, v.b);
    }
    static NARAE_INLINE void store(float* x, F v, int count) {
        if (count == 16) return store(x, v);
        _mm256_maskstore_ps(x, below(count, 0), v.a);
        _mm256_maskstore_ps(x + 8, below(count, 8), v.b);
    }
    static NARAE_INLINE F load_f16(const void* x) {
        const auto* halves = static_cast<const __m128i*>(x);
        return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
    }
    static NARAE_INLINE F load_bf16(const void* x) {
        const auto* halves = static_cast<const __m128i*>(x);
        const I wide{_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)), _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1))};
        return as_float(shift_left<16>(wide));
    }
    static NARAE_INLINE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
    static NARAE_INLINE F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
    static NARAE_INLINE F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
    static NARAE_INLINE F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
    static NARAE_INLINE F reciprocal(F x) { return div(set(1.0f), x); }
    static NARAE_INLINE F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
    static NARAE_INLINE F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
    static NARAE_INLINE F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
    static NARAE_INLINE F abs(F x) {
        const __m256 sign = _mm256_set1_ps(-0.0f);
        return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
    }
    static NARAE_INLINE F copy_sign(F magnitude, F sign) {
        const __m256 mask = _mm256_set1_ps(-0.0f);
        return {_mm256_or_ps(_mm256_andnot_ps(mask, magnitude.a), _mm256_and_ps(mask, sign.a)),
                _mm256_or_ps(_mm256_andnot_ps(mask, magnitude.b), _mm256_and_ps(mask, sign.b))};
    }
    static NARAE_INLINE F round(F x) {
        constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
    }
    static NARAE_INLINE F scale_by_power(F x, F power) {
        const I whole = to_int(power);
        const __m256i bias = _mm256_set1_epi32(127);
        const I biased{_mm256_add_epi32(whole.a, bias), _mm256_add_epi32(whole.b, bias)};
        return mul(x, as_float(shift_left<23>(biased)));
    }
    static NARAE_INLINE F select_less(F x, F y, F yes, F no) {
        return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
    }
    static NARAE_INLINE F keep_lanes(F x, int begin, int end, F other) {
        const __m256i a = _mm256_andnot_si256(below(begin, 0), below(end, 0)),
                      b = _mm256_andnot_si256(below(begin, 8), below(end, 8));
        return {_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(a)), _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(b))};
    }
    static NARAE_INLINE float sum(F x) {
        const __m256 eight = _mm256_add_ps(x.a, x.b);
        __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        four = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
    }
    static NARAE_INLINE float largest(F x) {
        const __m256 eight = _mm256_max_ps(x.a, x.b);
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
    }

    static NARAE_INLINE F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
    static NARAE_INLINE F as_float(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
    static NARAE_INLINE I to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
    static NARAE_INLINE I zero_int() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static NARAE_INLINE I broadcast_int(const void* x) {
        int value;
        __builtin_memcpy(&value, x, sizeof value);
        return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
    }
    static NARAE_INLINE I load_int(const void* x) {
        const auto* words = static_cast<const __m256i*>(x);
        return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
    }
    static NARAE_INLINE void store_int(void* x, I v) {
        auto* words = static_cast<__m256i*>(x);
        _mm256_storeu_si256(words, v.a);
        _mm256_storeu_si256(words + 1, v.b);
    }
    static NARAE_INLINE I add_int(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
    static NARAE_INLINE int sum_int(I x) {
        const __m256i eight = _mm256_add_epi32(x.a, x.b);
        __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
    }
    static NARAE_INLINE void store_low_bytes(void* x, I v) {
        const __m128i low = _mm_packs_epi32(_mm256_castsi256_si128(v.a), _mm256_extracti128_si256(v.a, 1));
        const __m128i high = _mm_packs_epi32(_mm256_castsi256_si128(v.b), _mm256_extracti128_si256(v.b, 1));
        _mm_storeu_si128(static_cast<__m128i*>(x), _mm_packs_epi16(low, high));
    }
    static NARAE_INLINE I set_bytes(int x) {
        return {_mm256_set1_epi8(static_cast<char>(x)), _mm256_set1_epi8(static_cast<char>(x))};
    }
    static NARAE_INLINE I add_bytes(I x, I y) { return {_mm256_add_epi8(x.a, y.a), _mm256_add_epi8(x.b, y.b)}; }
    static NARAE_INLINE I bit_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
    static NARAE_INLINE I bit_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
    template <int n>
    static NARAE_INLINE I shift_left(I x) {
        return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
    }
    template <int n>
    static NARAE_INLINE I shift_right(I x) {
        return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
    }
    template <int n>
    static NARAE_INLINE I shift_right_signed(I x) {
        return {_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)};
    }

    // vpmaddubsw adds two products in 16 bits and saturates: with |code| <= 128 and the code's sign moved to the activation
    // two products are at most 2 * 128 * 127 = 32512, which fits.
    static NARAE_INLINE I dot(I sum, I codes, I activations) {
        return {dot(sum.a, codes.a, activations.a), dot(sum.b, codes.b, activations.b)};
    }
    static NARAE_INLINE I dot_small(I sum, I codes, I activations) {
        const __m256i one = _mm256_set1_epi16(1);
        return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(_mm256_maddubs_epi16(codes.a, activations.a), one)),
                _mm256_add_epi32(sum.b, _mm256_madd_epi16(_mm256_maddubs_epi16(codes.b, activations.b), one))};
    }
    static NARAE_INLINE I dot_start(const void*) { return zero_int(); }
    static NARAE_INLINE void dot_nibbles(I& low, I& high, I codes, I activations_low, I activations_high) {
        const I mask = set_bytes(0x0f);
        low = dot_small(low, bit_and(codes, mask), activations_low);
        high = dot_small(high, bit_and(shift_right<4>(codes), mask), activations_high);
    }
    static NARAE_INLINE I join_nibbles(I low, I high) { return add_int(low, high); }

    static NARAE_INLINE void store_f16(void* x, F v, int count) {
        constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        store_halves(x, _mm256_cvtps_ph(v.a, kNearest), _mm256_cvtps_ph(v.b, kNearest), count);
    }
    static NARAE_INLINE void store_bf16(void* x, F v, int count) {
        const __m256i a = round_bf16(v.a), b = round_bf16(v.b);
        store_halves(x, _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)),
                     _mm_packus_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)), count);
    }
    static NARAE_INLINE void prefetch(const void* x) { _mm_prefetch(static_cast<const char*>(x), _MM_HINT_T1); }

private:
    static NARAE_INLINE __m256i dot(__m256i sum, __m256i codes, __m256i activations) {
        const __m256i code = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(activations, code));
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    // All ones in the lanes whose number, counted from `start`, is below count.
    static NARAE_INLINE __m256i below(int count, int start) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(count - start), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static NARAE_INLINE __m256i round_bf16(__m256 v) {
        const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
        const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
        const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
        const __m256 is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
        return _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, _mm256_castps_si256(is_nan));
    }
    static NARAE_INLINE void store_halves(void* x, __m128i low, __m128i high, int count) {
        if (count == 16) {
            _mm_storeu_si128(static_cast<__m128i*>(x), low);
            _mm_storeu_si128(static_cast<__m128i*>(x) + 1, high);
            return;
        }
        std::uint16_t all[16];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(all), low);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(all + 8), high);
        __builtin_memcpy(x, all, static_cast<std::size_t>(count) * 2);
    }
};

}  // namespace narae::kernels::cpu::avx2
