// nf4 and fp4 of bitsandbytes: 4-bit codes that stand for the numbers of a code book, in blocks of the flattened weight, which
// do not end with the rows. Not to be mixed up with E2M1, which is called FP4 too (fp4_e2m1.h).
//
//   codes      element i in byte i / 2, the first of two in the high nibble; of an odd number the last low nibble is unused
//   scales     [out * in / scaling.columns, rounded up]: the largest magnitude of a block of scaling.columns elements (a power
//              of two from 32 to 4096; scaling.rows is 1), f32; with double quantization (scaling.nested > 0) u8 codes of it
//   code_book  f32 [16] as the file has it;  value = code_book[code] * scale
//
// With double quantization, in blocks of scaling.nested scales (256 in practice):
//   nested_scales     f32 [scales / nested, rounded up]
//   nested_code_book  f32 [256]
//   nested_offset     f32 [1];  scale i = nested_code_book[scales[i]] * nested_scales[i / nested] + nested_offset
//
// Source: bitsandbytes 0.50, functional.py and backends/default/ops.py; QLoRA (arXiv:2305.14314).
#pragma once

#include "formats/format.h"

#include <array>
#include <optional>
#include <span>

namespace narae {

// NormalFloat: quantiles of the normal distribution.
std::span<const float, 16> nf4_code_book();
// Sign, two exponent bits and a mantissa bit, of a private kind; by the code, not in order. Codes 0 and 8 are both zero.
std::span<const float, 16> fp4_code_book();
// The 8-bit "dynamic" data type, ascending: of the scales of double quantization.
std::span<const float, 256> dynamic_code_book();

// The scales as numbers, whether quantized or not: float32 [blocks].
std::vector<float> scales_of_4bit(const PackedWeight& weight);

// Fills all buffers from `values` [out, in] as bitsandbytes does: value * (1 / absmax), or value / absmax in a last block that
// is cut off, then the nearest number of the code book, the lower of two as near (fp4: code 0 is the zero). `nested_offset`:
// what is subtracted from the scales before they are quantized; if not given, their mean.
void pack_4bit(const float* values, const OwnedWeight& weight, std::optional<float> nested_offset = std::nullopt);

}  // namespace narae
