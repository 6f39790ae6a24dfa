#include "formats/fp4_e2m1.h"

#include "base/checked.h"
#include "base/error.h"
#include "formats/code_stream.h"
#include "formats/microscaling.h"
#include "formats/scales.h"
#include "tensor/scalar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace narae {
namespace {

constexpr int kBits = 4, kNvfp4Block = 16;
constexpr float kLargest = 6.0f, kLargestScale = 448.0f;
constexpr int kLargestExponent = 2;

std::int64_t row_bytes(const PackedWeight& weight) {
    return static_cast<std::int64_t>(code_stream_bytes(static_cast<std::uint64_t>(weight.in), kBits));
}

std::vector<BufferSize> buffers(const PackedWeight& weight, DType dtype, std::int64_t block) {
    check_scaling(weight, {dtype});
    if (weight.scaling.rows != 1 || weight.scaling.columns != block)
        throw_error<BadFileError>("weight {}: a scale for [{}, {}] elements, format {} needs [1, {}]", weight.name,
                                  weight.scaling.rows, weight.scaling.columns, weight.format->name, block);
    checked_mul(static_cast<std::uint64_t>(weight.in), std::uint64_t{kBits}, weight.name);
    const auto out = static_cast<std::uint64_t>(weight.out);
    const auto groups = static_cast<std::uint64_t>(scale_grid(weight).columns);
    return {{BufferRole::codes, checked_mul(out, static_cast<std::uint64_t>(row_bytes(weight)), weight.name)},
            {BufferRole::scales, bytes_of_numbers(weight, out, groups, dtype)}};
}

std::vector<BufferSize> mxfp4_buffers(const PackedWeight& weight) {
    return buffers(weight, DType::f8_e8m0, kMicroscalingBlock);
}

std::vector<BufferSize> nvfp4_buffers(const PackedWeight& weight) {
    std::vector<BufferSize> sizes = buffers(weight, DType::f8_e4m3, kNvfp4Block);
    sizes.push_back({BufferRole::global_scale, sizeof(float)});
    return sizes;
}

// The scale of a group: stored * 1 (mxfp4), or divided by the global one (nvfp4).
float scale_at(const PackedWeight& weight, std::int64_t index) {
    const float scale = load_number(weight.bytes_of(BufferRole::scales), weight.scaling.dtype, index);
    const std::span<const std::byte> global = weight.bytes_of(BufferRole::global_scale);
    return global.empty() ? scale : scale / load_number(global, DType::f32, 0);
}

void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    std::array<float, 1 << kBits> numbers;
    for (std::size_t code = 0; code < numbers.size(); ++code)
        numbers[code] = float4_e2m1_to_float(static_cast<std::uint8_t>(code));
    const std::int64_t groups = scale_grid(weight).columns;
    for (std::int64_t row = row_begin; row < row_end; ++row) {
        const std::byte* codes = weight.codes().data() + row * row_bytes(weight);
        for (std::int64_t group = 0; group < groups; ++group) {
            const float scale = scale_at(weight, row * groups + group);
            const std::int64_t begin = group * weight.scaling.columns;
            for (std::int64_t column = begin; column < std::min(begin + weight.scaling.columns, weight.in); ++column)
                *values++ = numbers[static_cast<std::size_t>(load_code(codes, column, kBits))] * scale;
        }
    }
}

// compressed-tensors adds a zero point of 0, which leaves no -0; what is rounded to zero keeps its sign.
int code_of(float scaled) { return scaled == 0.0f ? 0 : float_to_float4_e2m1(scaled); }

// Calls visit(index of the scale, offset of the group's first value, its number of values).
template <class Visit>
void each_group(const PackedWeight& weight, Visit visit) {
    const std::int64_t block = weight.scaling.columns, groups = scale_grid(weight).columns;
    for (std::int64_t row = 0; row < weight.out; ++row)
        for (std::int64_t group = 0; group < groups; ++group)
            visit(row * groups + group, row * weight.in + group * block, std::min(block, weight.in - group * block));
}

float largest_of(DType model, const float* values, std::int64_t count) {
    float largest = 0.0f;
    for (std::int64_t i = 0; i < count; ++i) largest = std::fmax(largest, std::fabs(rounded_to(model, values[i])));
    return largest;
}

template <class CodeOf>
void store_group(const OwnedWeight& owned, std::int64_t begin, std::int64_t count, const float* values, CodeOf code_of_value) {
    const std::int64_t in = owned.weight.in;
    std::byte* codes = owned.bytes_of(BufferRole::codes).data() + begin / in * row_bytes(owned.weight);
    for (std::int64_t i = begin; i < begin + count; ++i) store_code(codes, i % in, kBits, code_of_value(values[i]));
}

void pack_mxfp4_usual(const float* values, const OwnedWeight& owned) { pack_mxfp4(DType::f32, values, owned); }
void pack_nvfp4_usual(const float* values, const OwnedWeight& owned) { pack_nvfp4(DType::f32, values, owned); }

constexpr Format kMxfp4 = [] {
    Format format;
    format.name = "mxfp4";
    format.unpack = unpack;
    format.buffers = mxfp4_buffers;
    format.scaling = {.rows = 1, .columns = kMicroscalingBlock, .dtype = DType::f8_e8m0};
    format.pack_weight = pack_mxfp4_usual;
    return format;
}();

constexpr Format kNvfp4 = [] {
    Format format;
    format.name = "nvfp4";
    format.unpack = unpack;
    format.buffers = nvfp4_buffers;
    format.scaling = {.rows = 1, .columns = kNvfp4Block, .dtype = DType::f8_e4m3};
    format.pack_weight = pack_nvfp4_usual;
    return format;
}();

const RegisterFormat kMxfp4Registered(kMxfp4), kNvfp4Registered(kNvfp4);

}  // namespace

void pack_mxfp4(DType model, const float* values, const OwnedWeight& owned) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(weight.format == &kMxfp4, "format {}", weight.format->name);
    each_group(weight, [&](std::int64_t index, std::int64_t begin, std::int64_t count) {
        const float scale = microscaling_scale(model, largest_of(model, values + begin, count), kLargestExponent);
        store_number(owned.bytes_of(BufferRole::scales), DType::f8_e8m0, index, scale);
        store_group(owned, begin, count, values,
                    [&](float value) { return code_of(rounded_to(model, rounded_to(model, value) / scale)); });
    });
}

float nvfp4_global_scale(DType model, float largest) {
    const float smallest = model == DType::f16 ? 0x1p-14f : 0x1p-126f;  // the type's smallest normal number
    // torch divides a number by a tensor in two steps.
    const float inverse = rounded_to(model, 1.0f / std::fmax(rounded_to(model, largest), smallest));
    const float scale = rounded_to(model, inverse * (kLargestScale * kLargest));
    return std::isfinite(scale) ? scale : 1.0f;
}

void pack_nvfp4(DType model, const float* values, const OwnedWeight& owned, std::optional<float> global_scale) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(weight.format == &kNvfp4, "format {}", weight.format->name);
    const float global = global_scale.value_or(nvfp4_global_scale(model, largest_of(model, values, weight.out * weight.in)));
    store_number(owned.bytes_of(BufferRole::global_scale), DType::f32, 0, global);
    each_group(weight, [&](std::int64_t index, std::int64_t begin, std::int64_t count) {
        constexpr float kInPlaceOfZero = 0.125f;
        const float local = rounded_to(model, largest_of(model, values + begin, count) / kLargest);
        float stored = rounded_to(DType::f8_e4m3, global * local);
        if (stored == 0.0f) stored = kInPlaceOfZero;
        store_number(owned.bytes_of(BufferRole::scales), DType::f8_e4m3, index, stored);
        const float scale = stored / global;
        store_group(owned, begin, count, values, [&](float value) { return code_of(rounded_to(model, value) / scale); });
    });
}

}  // namespace narae
