// int2 ... int8: integer codes that share a scale in groups along a row, as AutoAWQ, GPTQ and compressed-tensors store them.
//
//   codes        unsigned, a stream of `bits` each (code_stream.h), rows [out]
//   scales       [out / scaling.rows, groups], groups = in / scaling.columns, both rounded up; f16, bf16 or f32, of either sign
//   zeros        optional: value = (code - zero) * scale. Without them the zero is 2^(bits - 1), and codes are symmetric
//   offsets      instead of zeros: value = code * scale + offset with one rounding, as AutoAWQ's gemv_fast has it
//   group_index  optional: the group of each column (GPTQ's act-order); otherwise column / scaling.columns
//
// Products are exact in float32 when scales have 16 bits. The libraries compute them in the scales' type: their values are
// these, rounded to it. GPTQ's v1 files store zero - 1, compressed-tensors signed codes and zeros: unsigned - 2^(bits - 1). A
// zero may lie outside of the codes (16 at 4 bits, which some readers of v1 make of a stored 15).
#pragma once

#include "formats/format.h"

#include <cstdint>
#include <span>

namespace narae {

const Format& int_format(int bits);  // 2 to 8
int int_bits(const Format& format);  // 0: not one of these formats

// Whose arithmetic chooses scale, zero and codes when values are rounded to the nearest. All round ties to even.
enum class IntRule : std::uint8_t {
    // AutoGPTQ and GPTQModel, Quantizer.find_params, in float32: the range is extended to 0. Symmetric: zero = 2^(bits - 1),
    // scale = 2 absmax / (2^bits - 1), but half of that for a group without negative values, which then saturates.
    gptq,
    // AutoAWQ, pseudo_quantize_tensor: every operation is rounded to float16. The range is not extended to 0, so that groups of
    // one sign may saturate. Symmetric: scale = absmax / (2^(bits - 1) - 1).
    awq,
    // compressed-tensors: every operation is rounded to the model's type. The range is extended to 0. Symmetric:
    // scale = 2 absmax / (2^bits - 1). Asymmetric: code = round(value / scale + zero), where the others add a rounded quotient.
    compressed_tensors,
    // Symmetric only: scale = absmax / (2^(bits - 1) - 1) in float32; the lowest code is not used.
    absmax,
    // Symmetric only: the value of largest magnitude, with its sign, becomes the lowest code, so that scales have either sign;
    // as in ggml's Q4_0 and AutoRound.
    full_range,
};

struct IntRounding {
    IntRule rule = IntRule::gptq;
    int bits = 4;
    bool symmetric = false;
    // compressed_tensors: the model's type (f32, f16, bf16). absmax, full_range: the type that scales are stored in, so that
    // codes are chosen with the stored scale. The others ignore it.
    DType dtype = DType::f32;
};

struct GroupParameters {
    float scale = 1.0f;  // not yet rounded to the type that it is stored in, but by rules that say so
    float zero = 0.0f;   // an integer, 0 to 2^bits - 1; 2^(bits - 1) when symmetric
};

GroupParameters find_parameters(const IntRounding& rounding, std::span<const float> values);
// The code of a value, 0 to 2^bits - 1. A NaN gives some code.
int code_of(const IntRounding& rounding, const GroupParameters& parameters, float value);

// Fills all buffers of a weight of make_weight from `values` [out, in]; a group index must be in place. Zeros and offsets are
// written where the weight has them; it needs one of them unless the rounding is symmetric. An offset is -scale * zero, rounded
// to the type of the scales. The usual rule: full_range, or gptq where the weight has zeros or offsets.
void pack_int_groups(const IntRounding& rounding, const float* values, const OwnedWeight& weight);

}  // namespace narae
