// llm_int8: the weights of LLM.int8() as bitsandbytes stores them: signed 8-bit codes with the largest magnitude of each row.
//
//   codes   i8 [out, in]
//   scales  f32 [out] ("SCB"; scaling {1, kWhole});  value = code * scale * (1 / 127), each product rounded
//
// Source: bitsandbytes 0.50, _ops.py and backends/default/ops.py; LLM.int8() (arXiv:2208.07339).
#pragma once

#include "formats/format.h"

namespace narae {

// What bitsandbytes multiplies by in place of dividing by 127.
inline constexpr float kLlmInt8Inverse = 7.874015718698502e-3f;

// Fills codes and scales from `values` [out, in] as bitsandbytes does, which takes the weight as float16:
// code = value * (1 / scale * 127) in float32, rounded to the nearest, ties to even.
void pack_llm_int8(const float* values, const OwnedWeight& weight);

}  // namespace narae
