// Attention of one query head over the keys it sees, in double (Vaswani et al. 2017). Soft cap: Gemma 2; ALiBi: Press et al.
// 2021, the bias -slope * distance; sinks: a logit without a value that joins the softmax (gpt-oss).
#pragma once

#include <cstdint>
#include <optional>

namespace narae::kernels::ref {

struct HeadParameters {
    float scale = 1.0f;
    float soft_cap = 0.0f;  // 0: none
    float alibi_slope = 0.0f;
    std::optional<float> sink;
};

// q [head_dim]; k and v [keys, head_dim], oldest first, the last of them at the query's own position; keys >= 1.
// s[j] = q . k[j] * scale; s = cap * tanh(s / cap); s -= slope * (keys - 1 - j); out = softmax(s) v.
void attend(const float* q, std::int64_t keys, std::int64_t head_dim, const float* k, const float* v,
            const HeadParameters& parameters, float* out);

}  // namespace narae::kernels::ref
