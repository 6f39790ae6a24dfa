#include "formats/fp8_e4m3.h"

#include "base/checked.h"
#include "base/error.h"
#include "formats/microscaling.h"
#include "formats/scales.h"
#include "tensor/scalar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace narae {
namespace {

constexpr float kLargest = 448.0f;
constexpr int kLargestExponent = 8;

std::vector<BufferSize> buffers(const PackedWeight& weight) {
    check_scaling(weight, {DType::f32, DType::bf16, DType::f16, DType::f8_e8m0});
    const ScaleGrid grid = scale_grid(weight);
    return {{BufferRole::codes,
             checked_mul(static_cast<std::uint64_t>(weight.out), static_cast<std::uint64_t>(weight.in), weight.name)},
            {BufferRole::scales, bytes_of_numbers(weight, static_cast<std::uint64_t>(grid.rows),
                                                  static_cast<std::uint64_t>(grid.columns), weight.scaling.dtype)}};
}

std::array<float, 256> make_numbers() {
    std::array<float, 256> numbers{};
    for (std::size_t code = 0; code < numbers.size(); ++code)
        numbers[code] = float8_e4m3_to_float(static_cast<std::uint8_t>(code));
    return numbers;
}

void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    static const std::array<float, 256> numbers = make_numbers();
    const std::span<const std::byte> scales = weight.bytes_of(BufferRole::scales);
    const Scaling& scaling = weight.scaling;
    const std::int64_t groups = scale_grid(weight).columns;
    const std::byte* codes = weight.codes().data() + row_begin * weight.in;
    for (std::int64_t row = row_begin; row < row_end; ++row)
        for (std::int64_t group = 0; group < groups; ++group) {
            const float scale = load_number(scales, scaling.dtype, row / scaling.rows * groups + group);
            const std::int64_t count = std::min(scaling.columns, weight.in - group * scaling.columns);
            for (std::int64_t i = 0; i < count; ++i) *values++ = numbers[std::to_integer<std::size_t>(*codes++)] * scale;
        }
}

// A block's scale as it is stored, and what its values are divided by, or multiplied with.
struct BlockScale {
    float stored = 1.0f, divisor = 1.0f, factor = 0.0f;  // factor 0: divide
};

BlockScale compressed_tensors_scale(DType model, DType stored, float largest) {
    if (stored == DType::f8_e8m0) {
        const float scale = microscaling_scale(model, largest, kLargestExponent);
        return {.stored = scale, .divisor = scale};
    }
    float scale = rounded_to(model, largest / kLargest);
    // The distance from 1 to the type's next number.
    if (scale == 0.0f) scale = model == DType::f32 ? 0x1p-23f : model == DType::f16 ? 0x1p-10f : 0x1p-7f;
    return {.stored = scale, .divisor = scale};
}

BlockScale transformers_scale(DType stored, float largest) {
    float factor = largest > 0.0f ? 1.0f / largest * kLargest : 1.0f;  // in two steps, as torch divides a number by a tensor
    float scale = 1.0f / factor;
    if (stored == DType::f8_e8m0) {
        scale = std::exp2(std::ceil(std::log2(std::fmax(scale, std::numeric_limits<float>::min()))));
        factor = 1.0f / scale;
    }
    return {.stored = scale, .factor = factor};
}

void pack_usual(const float* values, const OwnedWeight& owned) { pack_fp8_e4m3({}, values, owned); }

constexpr Format kFormat = [] {
    Format format;
    format.name = "fp8_e4m3";
    format.unpack = unpack;
    format.buffers = buffers;
    format.scaling = {.rows = 128, .columns = 128, .dtype = DType::f32};
    format.pack_weight = pack_usual;
    return format;
}();
const RegisterFormat kRegistered(kFormat);

}  // namespace

void pack_fp8_e4m3(const Fp8Rounding& rounding, const float* values, const OwnedWeight& owned) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(weight.format == &kFormat, "format {}", weight.format->name);
    const std::span<std::byte> codes = owned.bytes_of(BufferRole::codes), scales = owned.bytes_of(BufferRole::scales);
    const Scaling& scaling = weight.scaling;
    const ScaleGrid grid = scale_grid(weight);
    const DType seen = rounding.rule == Fp8Rule::compressed_tensors ? rounding.model : DType::f32;
    for (std::int64_t block = 0; block < grid.rows * grid.columns; ++block) {
        const std::int64_t row_begin = block / grid.columns * scaling.rows,
                           column_begin = block % grid.columns * scaling.columns;
        const std::int64_t row_end = row_begin + std::min(scaling.rows, weight.out - row_begin);
        const std::int64_t column_end = column_begin + std::min(scaling.columns, weight.in - column_begin);
        const auto each = [&](auto visit) {
            for (std::int64_t row = row_begin; row < row_end; ++row)
                for (std::int64_t column = column_begin; column < column_end; ++column) visit(row * weight.in + column);
        };
        float largest = 0.0f;
        each([&](std::int64_t i) { largest = std::fmax(largest, std::fabs(rounded_to(seen, values[i]))); });
        const BlockScale scale = rounding.rule == Fp8Rule::compressed_tensors
                                     ? compressed_tensors_scale(rounding.model, scaling.dtype, largest)
                                     : transformers_scale(scaling.dtype, largest);
        store_number(scales, scaling.dtype, block, scale.stored);
        each([&](std::int64_t i) {
            const float value = rounded_to(seen, values[i]);
            // compressed-tensors adds a zero point of 0, which leaves no -0.
            const float scaled = scale.factor != 0.0f ? value * scale.factor : rounded_to(seen, value / scale.divisor) + 0.0f;
            codes[static_cast<std::size_t>(i)] = static_cast<std::byte>(float_to_float8_e4m3(scaled));
        });
    }
}

}  // namespace narae
