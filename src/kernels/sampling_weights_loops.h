// The loops behind WeightKernels, compiled once for each instruction set by the files that include this one. Nothing here
// may call a function that another file could share (its code would carry this file's instructions).
#pragma once

#include "kernels/sampling_weights.h"

namespace narae::kernels {
namespace {

constexpr std::size_t kLanes = 16;
typedef float FloatLanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
typedef std::uint64_t WordLanes __attribute__((vector_size(kLanes * sizeof(std::uint64_t))));

LogitExtent find_extent(const float* logits, std::size_t count) {
    constexpr float kLargest = 3.402823466e38f;
    FloatLanes max = FloatLanes{} - __builtin_inff();
    IntLanes bad = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        FloatLanes x;
        __builtin_memcpy(&x, logits + i, sizeof x);
        max = x > max ? x : max;
        bad |= ~(x <= kLargest);
    }
    LogitExtent extent{-__builtin_inff(), true};
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        extent.max = max[lane] > extent.max ? max[lane] : extent.max;
        extent.finite = extent.finite && bad[lane] == 0;
    }
    for (; i < count; ++i) {
        extent.max = logits[i] > extent.max ? logits[i] : extent.max;
        extent.finite = extent.finite && logits[i] <= kLargest;
    }
    return extent;
}

inline void weigh_lanes(WeightScale scale, const float* logits, std::uint64_t* weights, WordLanes& sum) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    FloatLanes y;
    __builtin_memcpy(&y, logits, sizeof y);
    y = (y - scale.max) * scale.factor;
    const FloatLanes least = FloatLanes{} - 64.0f;
    y = y < least ? least : y;
    const FloatLanes n = (y + kRound) - kRound;
    const FloatLanes f = y - n;
    FloatLanes p = f * 0x1.41fbbcp-13f + 0x1.5f3e52p-10f;
    p = p * f + 0x1.3b2d4cp-7f;
    p = p * f + 0x1.c6aee8p-5f;
    p = p * f + 0x1.ebfbdcp-3f;
    p = p * f + 0x1.62e430p-1f;
    p = p * f + 1.0f;
    const WordLanes significand = __builtin_convertvector(__builtin_convertvector(p * 16777216.0f, IntLanes), WordLanes);
    const IntLanes depth = __builtin_convertvector(-n, IntLanes), deepest = IntLanes{} + 63;
    const WordLanes shift = __builtin_convertvector(depth > deepest ? deepest : depth, WordLanes);
    const WordLanes weight = (significand << 16) >> shift;
    sum += weight;
    __builtin_memcpy(weights, &weight, sizeof weight);
}

std::uint64_t weigh_all(WeightScale scale, const float* logits, std::size_t count, std::uint64_t* weights) {
    WordLanes sums = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) weigh_lanes(scale, logits + i, weights + i, sums);
    std::uint64_t sum = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    if (i == count) return sum;
    float tail[kLanes] = {};
    std::uint64_t tail_weights[kLanes];
    __builtin_memcpy(tail, logits + i, (count - i) * sizeof(float));
    weigh_lanes(scale, tail, tail_weights, sums);
    for (std::size_t lane = 0; i < count; ++i, ++lane) sum += weights[i] = tail_weights[lane];
    return sum;
}

}  // namespace
}  // namespace narae::kernels
