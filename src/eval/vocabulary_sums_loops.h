// The loops behind VocabularyKernels, compiled once for each instruction set by the files that include this one. Nothing here
// may call a function that another file could share (its code would carry this file's instructions).
#pragma once

#include "eval/vocabulary_sums.h"

namespace narae::eval {
namespace {

constexpr std::size_t kLanes = 16, kBlock = 16 * kLanes;
typedef float FloatLanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
typedef std::uint16_t CodeLanes __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));

inline void load_lanes(FloatLanes& to, const float* from) { __builtin_memcpy(&to, from, sizeof to); }

// exp(x) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of r (Cephes expf), times 2^n. Below -87: about 1e-38.
inline void exp_lanes(FloatLanes& x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const FloatLanes least = FloatLanes{} - 87.0f;
    x = x < least ? least : x;
    const FloatLanes shifted = x * 0x1.715476p+0f + kRound;
    const FloatLanes n = shifted - kRound;
    const FloatLanes r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
    FloatLanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const FloatLanes value = p * (r * r) + r + 1.0f;
    IntLanes bits = __builtin_convertvector(n, IntLanes);
    bits = (bits + 127) << 23;
    FloatLanes power;
    __builtin_memcpy(&power, &bits, sizeof power);
    x = value * power;
}

inline double add_lanes(const FloatLanes& lanes, std::size_t count) {
    double sum = 0.0;
    for (std::size_t lane = 0; lane < count; ++lane) sum += static_cast<double>(lanes[lane]);
    return sum;
}

// Sums what term(i, values) gives for every sixteen i: lanes over blocks, then double; rest(i) sums what is left.
// (Vectors are passed by reference: without their instruction set they have no calling convention.)
template <class Term, class Rest>
inline double sum_lanes(std::size_t count, Term term, Rest rest) {
    double sum = 0.0;
    std::size_t i = 0;
    while (i + kLanes <= count) {
        const std::size_t end = i + kBlock <= count ? i + kBlock : i + (count - i) / kLanes * kLanes;
        FloatLanes lanes = {};
        for (; i < end; i += kLanes) {
            FloatLanes values;
            term(i, values);
            lanes += values;
        }
        sum += add_lanes(lanes, kLanes);
    }
    if (i < count) sum += rest(i);
    return sum;
}

void extent(const float* logits, std::size_t count, float* max, float* min, bool* finite) {
    constexpr float kLargest = 3.402823466e38f;
    FloatLanes most = FloatLanes{} - __builtin_inff(), least = FloatLanes{} + __builtin_inff();
    IntLanes good = IntLanes{} - 1;
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        FloatLanes x;
        load_lanes(x, logits + i);
        most = x > most ? x : most;
        least = x < least ? x : least;
        good &= (x <= kLargest) & (x >= -kLargest);
    }
    float high = -__builtin_inff(), low = __builtin_inff();
    bool all = true;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        high = most[lane] > high ? most[lane] : high;
        low = least[lane] < low ? least[lane] : low;
        all = all && good[lane] != 0;
    }
    for (; i < count; ++i) {
        high = logits[i] > high ? logits[i] : high;
        low = logits[i] < low ? logits[i] : low;
        all = all && logits[i] <= kLargest && logits[i] >= -kLargest;
    }
    *max = high;
    *min = low;
    *finite = all;
}

double sum_exp(const float* logits, std::size_t count, float max) {
    const auto term = [=](const float* at, FloatLanes& x) {
        load_lanes(x, at);
        x = x - max;
        exp_lanes(x);
    };
    return sum_lanes(
        count, [=](std::size_t i, FloatLanes& values) { term(logits + i, values); },
        [=](std::size_t i) {
            float tail[kLanes] = {};
            __builtin_memcpy(tail, logits + i, (count - i) * sizeof(float));
            FloatLanes values;
            term(tail, values);
            return add_lanes(values, count - i);
        });
}

double weighted_difference(const float* p, const float* q, std::size_t count, float p_max) {
    const auto term = [=](const float* p_at, const float* q_at, FloatLanes& values) {
        FloatLanes x, y;
        load_lanes(x, p_at);
        load_lanes(y, q_at);
        values = x - p_max;
        exp_lanes(values);
        values *= x - y;
    };
    return sum_lanes(
        count, [=](std::size_t i, FloatLanes& values) { term(p + i, q + i, values); },
        [=](std::size_t i) {
            float p_tail[kLanes] = {}, q_tail[kLanes] = {};
            __builtin_memcpy(p_tail, p + i, (count - i) * sizeof(float));
            __builtin_memcpy(q_tail, q + i, (count - i) * sizeof(float));
            FloatLanes values;
            term(p_tail, q_tail, values);
            return add_lanes(values, count - i);
        });
}

double codes_divergence(const std::uint16_t* codes, std::size_t count, float scale, float least, const float* q,
                        float q_log_sum_exp) {
    const auto term = [=](const std::uint16_t* codes_at, const float* q_at, FloatLanes& values) {
        CodeLanes code;
        FloatLanes y;
        __builtin_memcpy(&code, codes_at, sizeof code);
        load_lanes(y, q_at);
        FloatLanes log_p = __builtin_convertvector(code, FloatLanes) * scale + least;
        // ln p of a file from elsewhere may be anything; probabilities end at 1.
        log_p = log_p > 0.0f ? FloatLanes{} : log_p;
        values = log_p;
        exp_lanes(values);
        values *= log_p - y + q_log_sum_exp;
        values = log_p > -16.0f ? values : FloatLanes{};
    };
    return sum_lanes(
        count, [=](std::size_t i, FloatLanes& values) { term(codes + i, q + i, values); },
        [=](std::size_t i) {
            std::uint16_t code_tail[kLanes] = {};
            float q_tail[kLanes] = {};
            __builtin_memcpy(code_tail, codes + i, (count - i) * sizeof(std::uint16_t));
            __builtin_memcpy(q_tail, q + i, (count - i) * sizeof(float));
            FloatLanes values;
            term(code_tail, q_tail, values);
            return add_lanes(values, count - i);
        });
}

}  // namespace
}  // namespace narae::eval
