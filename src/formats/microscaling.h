// Scales that are powers of two (E8M0), one for 32 elements, of the OCP microscaling formats.
// Source: OCP Microscaling Formats (MX) v1.0; compressed-tensors 0.19, quantization/utils/mxfp_utils.py for the rounding.
#pragma once

#include "tensor/dtype.h"

namespace narae {

inline constexpr int kMicroscalingBlock = 32;

// The scale that compressed-tensors gives a block with this largest magnitude, in a model of this type (f32, f16, bf16): the
// power of two below it, or from 1.75 times that on the next one, divided by 2^largest_exponent, the exponent of the element
// type's largest number (e2m1: 2, e4m3: 8). At least 2^-127; but where float16 cannot hold it, 1.
float microscaling_scale(DType model, float largest, int largest_exponent);

}  // namespace narae
