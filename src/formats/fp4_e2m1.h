// mxfp4 and nvfp4: 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) in groups along a row.
//
//   codes   [out, in / 2, rounded up], the even column in the low nibble
//   mxfp4:  scales  e8m0 [out, in / 32];  value = code * scale
//   nvfp4:  scales  e4m3 [out, in / 16]
//           global_scale  f32 [1]: what scales are divided by, a large number;  value = code * (scale / global_scale)
//
// The last group of a row may be cut off. Source: OCP Microscaling Formats (MX) v1.0; compressed-tensors 0.19.
#pragma once

#include "formats/format.h"

#include <optional>

namespace narae {

// Fill all buffers from `values` [out, in] as compressed-tensors does in a model of this type (f32, f16, bf16), whose rounding
// every operation but nvfp4's division by scales has. The usual type is f32.
void pack_mxfp4(DType model, const float* values, const OwnedWeight& weight);
// `global_scale`: of weights that share one (q, k and v; gate and up). Without it that of the values' largest magnitude.
void pack_nvfp4(DType model, const float* values, const OwnedWeight& weight, std::optional<float> global_scale = std::nullopt);
float nvfp4_global_scale(DType model, float largest);

}  // namespace narae
