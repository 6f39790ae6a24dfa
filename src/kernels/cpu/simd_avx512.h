// Sixteen lanes on AVX-512 with VNNI. See simd_generic.h for what each operation means.
#pragma once

#include "kernels/cpu/inline.h"

#include <immintrin.h>

// GCC 12's own intrinsics pass deliberately undefined registers, and it warns of them where they are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace narae::kernels::cpu::avx512 {

struct Isa {
    using F = __m512;
    using I = __m512i;
    static constexpr int kIntPanels = 2, kIntTokens = 6;
    static constexpr int kFloatPanels = 2, kFloatTokens = 12;
    static constexpr int kAttentionLines = 6, kAttentionVectors = 4;
    static constexpr bool kCodesAreUnsigned = true;

    static NARAE_INLINE F zero() { return _mm512_setzero_ps(); }
    static NARAE_INLINE F set(float x) { return _mm512_set1_ps(x); }
    static NARAE_INLINE F broadcast(const float* x) { return _mm512_set1_ps(*x); }
    static NARAE_INLINE F load(const float* x) { return _mm512_loadu_ps(x); }
    static NARAE_INLINE F load(const float* x, int count) { return _mm512_maskz_loadu_ps(first(count), x); }
    static NARAE_INLINE void store(float* x, F a) { _mm512_storeu_ps(x, a); }
    static NARAE_INLINE void store(float* x, F a, int count) { _mm512_mask_storeu_ps(x, first(count), a); }
    static NARAE_INLINE F load_f16(const void* x) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(x)));
    }
    static NARAE_INLINE F load_bf16(const void* x) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(x)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    static NARAE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
    static NARAE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
    static NARAE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
    static NARAE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
    // 14 bits and one step of Newton's. Not for 0 and infinities.
    static NARAE_INLINE F reciprocal(F a) {
        const F guess = _mm512_rcp14_ps(a);
        return _mm512_mul_ps(guess, _mm512_fnmadd_ps(a, guess, _mm512_set1_ps(2.0f)));
    }
    static NARAE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
    static NARAE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
    static NARAE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
    static NARAE_INLINE F abs(F a) { return _mm512_abs_ps(a); }
    static NARAE_INLINE F copy_sign(F magnitude, F sign) {
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude), _mm512_castps_si512(sign),
                                                             _mm512_set1_epi32(INT32_MIN), 0xd8));
    }
    static NARAE_INLINE F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static NARAE_INLINE F scale_by_power(F a, F power) { return _mm512_scalef_ps(a, power); }
    static NARAE_INLINE F select_less(F a, F b, F yes, F no) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
    }
    static NARAE_INLINE F keep_lanes(F a, int begin, int end, F other) {
        return _mm512_mask_blend_ps(first(end) & static_cast<__mmask16>(~first(begin)), other, a);
    }
    static NARAE_INLINE float sum(F a) { return _mm512_reduce_add_ps(a); }
    static NARAE_INLINE float largest(F a) { return _mm512_reduce_max_ps(a); }

    static NARAE_INLINE F to_float(I a) { return _mm512_cvtepi32_ps(a); }
    static NARAE_INLINE F as_float(I a) { return _mm512_castsi512_ps(a); }
    static NARAE_INLINE I to_int(F a) { return _mm512_cvtps_epi32(a); }
    static NARAE_INLINE I zero_int() { return _mm512_setzero_si512(); }
    static NARAE_INLINE I broadcast_int(const void* x) { return _mm512_set1_epi32(load32(x)); }
    static NARAE_INLINE I load_int(const void* x) { return _mm512_loadu_si512(x); }
    static NARAE_INLINE void store_int(void* x, I a) { _mm512_storeu_si512(x, a); }
    static NARAE_INLINE I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
    static NARAE_INLINE int sum_int(I a) { return _mm512_reduce_add_epi32(a); }
    static NARAE_INLINE void store_low_bytes(void* x, I a) {
        _mm_storeu_si128(static_cast<__m128i*>(x), _mm512_cvtepi32_epi8(a));
    }
    static NARAE_INLINE I set_bytes(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
    static NARAE_INLINE I add_bytes(I a, I b) { return _mm512_add_epi8(a, b); }
    static NARAE_INLINE I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
    static NARAE_INLINE I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
    template <int n>
    static NARAE_INLINE I shift_left(I a) {
        return _mm512_slli_epi32(a, n);
    }
    template <int n>
    static NARAE_INLINE I shift_right(I a) {
        return _mm512_srli_epi32(a, n);
    }
    template <int n>
    static NARAE_INLINE I shift_right_signed(I a) {
        return _mm512_srai_epi32(a, n);
    }

    static NARAE_INLINE I dot(I sum, I codes, I activations) { return _mm512_dpbusd_epi32(sum, codes, activations); }
    static NARAE_INLINE I dot_small(I sum, I codes, I activations) { return _mm512_dpbusd_epi32(sum, codes, activations); }
    static NARAE_INLINE I dot_start(const void* minus_128_sum) { return broadcast_int(minus_128_sum); }
    static NARAE_INLINE void dot_nibbles(I& low, I& high, I codes, I activations_low, I activations_high) {
        low = _mm512_dpbusd_epi32(low, _mm512_and_si512(codes, _mm512_set1_epi8(0x0f)), activations_low);
        high = _mm512_dpbusd_epi32(high, _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0xf0))), activations_high);
    }
    static NARAE_INLINE I join_nibbles(I low, I high) { return _mm512_add_epi32(low, _mm512_srai_epi32(high, 4)); }

    static NARAE_INLINE void store_f16(void* x, F a, int count) {
        store_halves(x, _mm512_maskz_cvtps_ph(0xffff, a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), count);
    }
    static NARAE_INLINE void store_bf16(void* x, F a, int count) {
        const I bits = _mm512_castps_si512(a);
        const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const I rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
        const I quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
        const __mmask16 is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
        store_halves(x, _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(is_nan, rounded, quiet)), count);
    }
    static NARAE_INLINE void prefetch(const void* x) { _mm_prefetch(static_cast<const char*>(x), _MM_HINT_T1); }

private:
    static NARAE_INLINE __mmask16 first(int count) { return static_cast<__mmask16>((1u << count) - 1u); }
    static NARAE_INLINE void store_halves(void* x, __m256i a, int count) { _mm256_mask_storeu_epi16(x, first(count), a); }
    static NARAE_INLINE int load32(const void* x) {
        int value;
        __builtin_memcpy(&value, x, sizeof value);
        return value;
    }
};

}  // namespace narae::kernels::cpu::avx512
