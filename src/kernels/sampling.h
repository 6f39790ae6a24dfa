// Choosing a token from logits: our own on every backend and bit-exact by definition, so that the same logits, parameters
// and seed give the same token everywhere.
//
// Order (vLLM V1's, typical after top-p): allowed-token mask, logit bias, penalties (repetition over prompt and output,
// frequency and presence over the output), greedy if temperature is 0, temperature, min-p, top-k, top-p, typical, draw.
//
// Bit-exact: everything is single f32 operations in the order written (no fused multiply-add, no flush to zero) or integers.
//   bias, penalties   each its own f32 operation on the logit, in the order above; entries of logit_bias in their order
//   y_i               (logit_i - max) * min(log2(e) / temperature, largest float); <= 0
//   w_i               2^y_i as a 40-bit fixed-point number (sampling_weights.h); tokens of weight 0 cannot be chosen
//   min-p             keeps w_i >= min_p * 2^40
//   top-k             keeps logits not below the k-th largest that is left
//   top-p             orders by logit, then id; keeps tokens while the weight of those before is < top_p * (all that is left)
//   typical           the same order by |y_i - weighted mean of y| in units of 2^-20, which is |surprise - entropy|
//   draw              r = words 1 and 0 of Philox4x32-10, key (seed low, seed high), counter (position low, position high,
//                     choice, 0), as a 64-bit number; t = floor(r * sum / 2^64); the first token, by id, with w_0 + ... + w_i >
//                     t
// Ties go to the lower id.
// Sources: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC11); Holtzman et al. 2019 (top-p); Meister et al.
// 2022 (typical); Nguyen et al. 2024 (min-p); Keskar et al. 2019 (repetition penalty).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace narae::kernels {

struct SamplingParameters {
    float temperature = 1.0f;         // 0: greedy
    int top_k = 0;                    // 0: off; ties with the k-th stay
    float top_p = 1.0f;               // (0, 1]; 1: off
    float min_p = 0.0f;               // [0, 1); 0: off
    float typical_p = 1.0f;           // (0, 1]; 1: off
    float repetition_penalty = 1.0f;  // > 0; 1: off
    float frequency_penalty = 0.0f;
    float presence_penalty = 0.0f;
    std::uint64_t seed = 0;
    std::uint32_t choice = 0;                                     // which of n answers to one request
    std::vector<std::pair<std::int32_t, float>> logit_bias = {};  // token id, added
};

// UsageError naming the parameter, its value and its range.
void validate(const SamplingParameters& parameters, int vocab);

// What one row's choice needs besides its logits. Views are the caller's.
struct SamplingRow {
    const SamplingParameters* parameters = nullptr;
    std::int64_t position = 0;                    // of the token being chosen; the random counter
    std::span<const std::int32_t> prompt = {};    // for the repetition penalty
    std::span<const std::int32_t> output = {};    // tokens chosen so far
    std::span<const std::uint32_t> allowed = {};  // bitmask [ceil(vocab / 32)], bit set: allowed; empty: all
};

struct Sampled {
    std::int32_t id = 0;
    bool finite = true;  // false: the row's logits hold a NaN or +infinity, or nothing but -infinity is left; id is then 0
};

// The specification, and what the CPU runs. logits: [vocab] float32, unchanged. Needs scratch of its own; may run
// concurrently for different rows.
Sampled sample_token(std::span<const float> logits, const SamplingRow& row);

// Philox4x32-10: four 32-bit words from a 64-bit key and a 128-bit counter.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 2> key, std::array<std::uint32_t, 4> counter);

}  // namespace narae::kernels
