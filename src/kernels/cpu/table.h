// The table of one instruction set; included by the files that are compiled for one.
#pragma once

#include "kernels/cpu/attention.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/inputs.h"
#include "kernels/cpu/product.h"

namespace narae::kernels::cpu {

template <class Isa>
constexpr Kernels make_table(const char* name, const char* describe) {
    return {.name = name,
            .describe = describe,
            .int_tokens = Isa::kIntTokens,
            .float_tokens = Isa::kFloatTokens,
            .pairs = false,
            .product_scratch_bytes = Product<Isa>::scratch_bytes,
            .prepare_inputs = Inputs<Isa>::prepare,
            .product = Product<Isa>::run,
            .attention_scratch_bytes = Attention<Isa>::scratch_bytes,
            .attend = Attention<Isa>::run,
            .norm = Elementwise<Isa>::norm,
            .norm_rotate = Elementwise<Isa>::norm_rotate,
            .activate = Elementwise<Isa>::activate,
            .add = Elementwise<Isa>::add,
            .append = Elementwise<Isa>::append};
}

}  // namespace narae::kernels::cpu
