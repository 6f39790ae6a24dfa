// BF16, dense. The upper half of an IEEE single: 1 sign bit, 8 exponent bits, 7 mantissa bits.
#include "formats/block_format.h"

namespace narae {
namespace {

struct Element {
    static constexpr int kElements = 1;
    BFloat16 value;
};

void unpack_element(const Element& block, float* values) { *values = to_float(block.value); }

void pack_element(const float* values, Element& block) { block.value = to_bfloat16(*values); }

constexpr Format kFormat = [] {
    Format format = block_format<Element, unpack_element, pack_element>("bf16", 30);
    format.dtype = DType::bf16;
    return format;
}();
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
