// F32, dense. IEEE single precision: the values themselves.
#include "formats/block_format.h"

namespace narae {
namespace {

struct Element {
    static constexpr int kElements = 1;
    float value;
};

void unpack_element(const Element& block, float* values) { *values = block.value; }

void pack_element(const float* values, Element& block) { block.value = *values; }

constexpr Format kFormat = [] {
    Format format = block_format<Element, unpack_element, pack_element>("f32", 0);
    format.dtype = DType::f32;
    return format;
}();
const RegisterFormat kRegistered(kFormat);

}  // namespace
}  // namespace narae
