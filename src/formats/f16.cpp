// F16, dense. IEEE half precision: 1 sign bit, 5 exponent bits, 10 mantissa bits.
#include "formats/block_format.h"

namespace narae {
namespace {

struct Element {
    static constexpr int kElements = 1;
    Half value;
};

void unpack_element(const Element& block, float* values) { *values = to_float(block.value); }

void pack_element(const float* values, Element& block) { block.value = to_half(*values); }

constexpr Format kFormat = [] {
    Format format = block_format<Element, unpack_element, pack_element>("f16", 1);
    format.dtype = DType::f16;
    return format;
}();
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
