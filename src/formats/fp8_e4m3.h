// fp8_e4m3: 8-bit floats (e4m3fn) with one scale for the weight, for each row, or for blocks, as compressed-tensors and the
// checkpoints of DeepSeek and Qwen (quant_method "fp8") have them.
//
//   codes   e4m3 [out, in]
//   scales  [out / scaling.rows, in / scaling.columns], both rounded up; f32, bf16, f16 or e8m0;  value = code * scale
//
// A grid of scales without a block size belongs to blocks of rows / grid rows (192 rows under 2 scales: blocks of 96). MXFP8 is
// this format with e8m0 scales of [1, 32]. What is called weight_scale_inv is the scale, and multiplied too.
#pragma once

#include "formats/format.h"

#include <cstdint>

namespace narae {

// Whose arithmetic chooses scales and codes.
enum class Fp8Rule : std::uint8_t {
    // Every operation is rounded to the model's type: scale = absmax / 448, code = value / scale. With e8m0 scales as
    // microscaling.h says.
    compressed_tensors,
    // float32: factor = 1 / absmax * 448, code = value * factor, scale = 1 / factor. With e8m0 scales the scale is rounded up.
    transformers,
};

struct Fp8Rounding {
    Fp8Rule rule = Fp8Rule::compressed_tensors;
    DType model = DType::f32;  // of compressed_tensors: f32, f16, bf16
};

// Fills codes and scales from `values` [out, in]; codes beyond 448 saturate. The usual rule: compressed_tensors in f32.
void pack_fp8_e4m3(const Fp8Rounding& rounding, const float* values, const OwnedWeight& weight);

}  // namespace narae
