// Rotary position embeddings (Su et al. 2021), in double from an angle that is rounded to f32 as transformers rounds it.
#pragma once

#include "kernels/backend.h"

#include <cstdint>
#include <span>

namespace narae::kernels::ref {

// table [2, inv_freq.size()]: cos and sin of position * inv_freq[i] (an f32 product), each times `scaling`.
void rope_row(std::int32_t position, std::span<const float> inv_freq, float scaling, float* table);

// Rotates the first rotary_dim components of a head in place:
//   (a, b) -> (a cos - b sin, b cos + a sin), (a, b) = (i, i + rotary_dim / 2), or (2i, 2i + 1) where interleaved.
void rotate(float* head, const Rope& rope, const float* table);

}  // namespace narae::kernels::ref
