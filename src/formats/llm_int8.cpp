#include "formats/llm_int8.h"

#include "base/checked.h"
#include "base/error.h"
#include "formats/scales.h"

#include <cmath>

namespace narae {
namespace {

std::vector<BufferSize> buffers(const PackedWeight& weight) {
    check_scaling(weight, {DType::f32});
    if (weight.scaling.rows != 1 || scale_grid(weight).columns != 1)
        throw_error<BadFileError>("weight {}: a scale for [{}, {}] elements, format {} needs one for each row", weight.name,
                                  weight.scaling.rows, weight.scaling.columns, weight.format->name);
    const auto out = static_cast<std::uint64_t>(weight.out);
    return {{BufferRole::codes, checked_mul(out, static_cast<std::uint64_t>(weight.in), weight.name)},
            {BufferRole::scales, bytes_of_numbers(weight, out, 1, DType::f32)}};
}

void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    const std::byte* codes = weight.codes().data() + row_begin * weight.in;
    for (std::int64_t row = row_begin; row < row_end; ++row) {
        const float scale = load_number(weight.bytes_of(BufferRole::scales), DType::f32, row);
        for (std::int64_t column = 0; column < weight.in; ++column)
            *values++ = static_cast<float>(std::to_integer<std::int8_t>(*codes++)) * scale * kLlmInt8Inverse;
    }
}

constexpr Format kFormat = [] {
    Format format;
    format.name = "llm_int8";
    format.unpack = unpack;
    format.buffers = buffers;
    format.scaling = {.rows = 1, .columns = kWhole, .dtype = DType::f32};
    format.pack_weight = pack_llm_int8;
    return format;
}();
const RegisterFormat kRegistered(kFormat);

}  // namespace

void pack_llm_int8(const float* values, const OwnedWeight& owned) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(weight.format == &kFormat, "format {}", weight.format->name);
    std::byte* codes = owned.bytes_of(BufferRole::codes).data();
    for (std::int64_t row = 0; row < weight.out; ++row) {
        const std::span<const float> of_row(values + row * weight.in, static_cast<std::size_t>(weight.in));
        float largest = 0.0f;
        for (const float value : of_row) largest = std::fmax(largest, std::fabs(rounded_to(DType::f16, value)));
        const float factor = 1.0f / largest * 127.0f;  // in two steps, as torch divides a number by a tensor
        for (const float value : of_row) {
            // NaN in a row of zeros, whose factor is infinite.
            const float steps = std::nearbyint(rounded_to(DType::f16, value) * factor);
            const float code = std::isnan(steps) ? 0.0f : std::fmin(std::fmax(steps, -127.0f), 127.0f);
            *codes++ = static_cast<std::byte>(static_cast<std::int8_t>(code));
        }
        store_number(owned.bytes_of(BufferRole::scales), DType::f32, row, largest);
    }
}

}  // namespace narae
