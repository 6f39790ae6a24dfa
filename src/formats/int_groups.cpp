#include "formats/int_groups.h"

#include "base/checked.h"
#include "base/error.h"
#include "formats/code_stream.h"
#include "formats/scales.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace narae {
namespace {

constexpr int kFewestBits = 2, kMostBits = 8;

// The group of each column.
std::vector<std::int64_t> groups_of_columns(const PackedWeight& weight) {
    const std::span<const std::byte> index = weight.bytes_of(BufferRole::group_index);
    std::vector<std::int64_t> groups;
    for (std::int64_t column = 0; column < weight.in; ++column) {
        std::int32_t indexed = 0;
        if (!index.empty()) std::memcpy(&indexed, index.data() + column * 4, sizeof indexed);
        groups.push_back(index.empty() ? column / weight.scaling.columns : indexed);
    }
    return groups;
}

template <int kBits>
std::vector<BufferSize> buffers(const PackedWeight& weight) {
    check_scaling(weight, {DType::f32, DType::f16, DType::bf16});
    if (weight.has(BufferRole::zeros) && weight.has(BufferRole::offsets))
        throw_error<BadFileError>("weight {}: zeros and offsets, format {} needs at most one of them", weight.name,
                                  weight.format->name);
    const auto out = static_cast<std::uint64_t>(weight.out), in = static_cast<std::uint64_t>(weight.in);
    const ScaleGrid grid = scale_grid(weight);
    const auto rows = static_cast<std::uint64_t>(grid.rows), groups = static_cast<std::uint64_t>(grid.columns);
    checked_mul(in, std::uint64_t{kBits}, weight.name);
    std::vector<BufferSize> sizes = {{BufferRole::codes, checked_mul(out, code_stream_bytes(in, kBits), weight.name)},
                                     {BufferRole::scales, bytes_of_numbers(weight, rows, groups, weight.scaling.dtype)}};
    if (weight.has(BufferRole::zeros)) sizes.push_back({BufferRole::zeros, bytes_of_numbers(weight, rows, groups, DType::u8)});
    if (weight.has(BufferRole::offsets))
        sizes.push_back({BufferRole::offsets, bytes_of_numbers(weight, rows, groups, weight.scaling.dtype)});
    if (weight.has(BufferRole::group_index))
        sizes.push_back({BufferRole::group_index, bytes_of_numbers(weight, 1, in, DType::i32)});
    return sizes;
}

template <int kBits>
void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    const auto row_bytes = static_cast<std::int64_t>(code_stream_bytes(static_cast<std::uint64_t>(weight.in), kBits));
    const std::int64_t groups = scale_grid(weight).columns;
    const std::vector<std::int64_t> group_of = groups_of_columns(weight);
    const std::span<const std::byte> all_scales = weight.bytes_of(BufferRole::scales),
                                     zeros = weight.bytes_of(BufferRole::zeros),
                                     all_offsets = weight.bytes_of(BufferRole::offsets);
    std::vector<float> scales(static_cast<std::size_t>(groups)), offsets(scales.size());
    std::vector<int> zero(scales.size(), 1 << (kBits - 1));
    for (std::int64_t row = row_begin; row < row_end; ++row) {
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::int64_t index = row / weight.scaling.rows * groups + group;
            const auto at = static_cast<std::size_t>(group);
            scales[at] = load_number(all_scales, weight.scaling.dtype, index);
            if (!zeros.empty()) zero[at] = std::to_integer<int>(zeros[static_cast<std::size_t>(index)]);
            if (!all_offsets.empty()) offsets[at] = load_number(all_offsets, weight.scaling.dtype, index);
        }
        const std::byte* codes = weight.codes().data() + row * row_bytes;
        for (std::int64_t column = 0; column < weight.in; ++column) {
            const int code = load_code(codes, column, kBits);
            const auto group = static_cast<std::size_t>(group_of[static_cast<std::size_t>(column)]);
            *values++ = all_offsets.empty() ? static_cast<float>(code - zero[group]) * scales[group]
                                            : std::fma(static_cast<float>(code), scales[group], offsets[group]);
        }
    }
}

void pack_usual(const float* values, const OwnedWeight& owned) {
    const PackedWeight& weight = owned.weight;
    const bool symmetric = !weight.has(BufferRole::zeros) && !weight.has(BufferRole::offsets);
    pack_int_groups({.rule = symmetric ? IntRule::full_range : IntRule::gptq,
                     .bits = int_bits(*weight.format),
                     .symmetric = symmetric,
                     .dtype = weight.scaling.dtype},
                    values, owned);
}

template <int kBits>
constexpr Format format_of(std::string_view name) {
    Format format;
    format.name = name;
    format.unpack = unpack<kBits>;
    format.buffers = buffers<kBits>;
    format.scaling = {.rows = 1, .columns = 128, .dtype = DType::f16};
    format.pack_weight = pack_usual;
    return format;
}

constexpr std::array<Format, kMostBits - kFewestBits + 1> kFormats = {
    format_of<2>("int2"), format_of<3>("int3"), format_of<4>("int4"), format_of<5>("int5"),
    format_of<6>("int6"), format_of<7>("int7"), format_of<8>("int8")};
const std::array<RegisterFormat, kFormats.size()> kRegistered = {
    RegisterFormat(kFormats[0]), RegisterFormat(kFormats[1]), RegisterFormat(kFormats[2]), RegisterFormat(kFormats[3]),
    RegisterFormat(kFormats[4]), RegisterFormat(kFormats[5]), RegisterFormat(kFormats[6])};

// ---- rounding to the nearest ----

struct Extremes {
    float minimum, maximum;
};

// Of the values as the type holds them.
Extremes extremes_of(std::span<const float> values, DType dtype) {
    Extremes e{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
    for (const float value : values) {
        const float seen = rounded_to(dtype, value);
        if (seen < e.minimum) e.minimum = seen;
        if (seen > e.maximum) e.maximum = seen;
    }
    return e;
}

Extremes with_zero(Extremes e) { return {std::fmin(e.minimum, 0.0f), std::fmax(e.maximum, 0.0f)}; }

float largest_magnitude(Extremes e) { return std::fmax(std::fabs(e.minimum), std::fabs(e.maximum)); }

// A rounded value as an integer; a NaN gives the lowest.
float clamped(float value, float lowest, float highest) {
    if (!(value > lowest)) return lowest;
    return value < highest ? value : highest;
}

float highest_code(const IntRounding& rounding) { return static_cast<float>((1 << rounding.bits) - 1); }
float middle_code(const IntRounding& rounding) { return static_cast<float>(1 << (rounding.bits - 1)); }

GroupParameters gptq_parameters(const IntRounding& rounding, std::span<const float> values) {
    Extremes e = with_zero(extremes_of(values, DType::f32));
    if (rounding.symmetric) {
        e.maximum = largest_magnitude(e);
        if (e.minimum < 0.0f) e.minimum = -e.maximum;
    }
    if (e.minimum == 0.0f && e.maximum == 0.0f) e = {-1.0f, 1.0f};
    const float scale = (e.maximum - e.minimum) / highest_code(rounding);
    if (rounding.symmetric) return {scale, middle_code(rounding)};
    return {scale, clamped(std::nearbyint(-e.minimum / scale), 0.0f, highest_code(rounding))};
}

int gptq_code(const IntRounding& rounding, const GroupParameters& p, float value) {
    return static_cast<int>(clamped(std::nearbyint(value / p.scale) + p.zero, 0.0f, highest_code(rounding)));
}

float half(float value) { return rounded_to(DType::f16, value); }

GroupParameters awq_parameters(const IntRounding& rounding, std::span<const float> values) {
    constexpr float kSmallestRange = 1e-5f;
    const Extremes e = extremes_of(values, DType::f16);
    if (rounding.symmetric) {
        const float largest = std::fmax(largest_magnitude(e), half(kSmallestRange));
        return {half(largest / (middle_code(rounding) - 1.0f)), middle_code(rounding)};
    }
    const float range = std::fmax(half(e.maximum - e.minimum), half(kSmallestRange));
    const float scale = half(range / highest_code(rounding));
    return {scale, clamped(-std::nearbyint(half(e.minimum / scale)), 0.0f, highest_code(rounding))};
}

// Also of the symmetric rule: its codes -2^(bits - 1) ... are the unsigned ones less the zero.
int awq_code(const IntRounding& rounding, const GroupParameters& p, float value) {
    const float steps = std::nearbyint(half(half(value) / p.scale));
    if (rounding.symmetric) return static_cast<int>(clamped(steps, -p.zero, p.zero - 1.0f) + p.zero);
    return static_cast<int>(clamped(half(steps + p.zero), 0.0f, highest_code(rounding)));
}

// What a scale of zero becomes: the distance from 1 to the next number.
float epsilon_of(DType dtype) { return dtype == DType::f32 ? 0x1p-23f : dtype == DType::f16 ? 0x1p-10f : 0x1p-7f; }

GroupParameters compressed_tensors_parameters(const IntRounding& rounding, std::span<const float> values) {
    const auto round = [&](float value) { return rounded_to(rounding.dtype, value); };
    const Extremes e = with_zero(extremes_of(values, rounding.dtype));
    const float lowest = -middle_code(rounding), highest = middle_code(rounding) - 1.0f;
    float scale, zero = 0.0f;  // the library's zero is signed, as its codes are
    if (rounding.symmetric) {
        scale = round(largest_magnitude(e) / (highest_code(rounding) / 2.0f));
    } else {
        scale = round(round(e.maximum - e.minimum) / highest_code(rounding));
        const float exact = round(lowest - round(e.minimum / scale));
        if (!std::isnan(exact)) zero = std::nearbyint(clamped(exact, lowest, highest));
    }
    return {scale == 0.0f ? epsilon_of(rounding.dtype) : scale, zero + middle_code(rounding)};
}

int compressed_tensors_code(const IntRounding& rounding, const GroupParameters& p, float value) {
    const auto round = [&](float x) { return rounded_to(rounding.dtype, x); };
    const float middle = middle_code(rounding);
    const float steps = round(round(round(value) / p.scale) + (p.zero - middle));
    return static_cast<int>(std::nearbyint(clamped(steps, -middle, middle - 1.0f)) + middle);
}

GroupParameters absmax_parameters(const IntRounding& rounding, std::span<const float> values) {
    const float middle = middle_code(rounding);
    return {rounded_to(rounding.dtype, largest_magnitude(with_zero(extremes_of(values, DType::f32))) / (middle - 1.0f)),
            middle};
}

GroupParameters full_range_parameters(const IntRounding& rounding, std::span<const float> values) {
    const float middle = middle_code(rounding);
    float extreme = 0.0f;  // the first of equal magnitudes
    for (const float value : values)
        if (std::fabs(value) > std::fabs(extreme)) extreme = value;
    return {rounded_to(rounding.dtype, extreme / -middle), middle};
}

int symmetric_code(const IntRounding& rounding, const GroupParameters& p, float value) {
    if (p.scale == 0.0f) return static_cast<int>(p.zero);
    return static_cast<int>(clamped(std::nearbyint(value / p.scale) + p.zero, 0.0f, highest_code(rounding)));
}

}  // namespace

const Format& int_format(int bits) {
    NARAE_CHECK(kFewestBits <= bits && bits <= kMostBits, "codes of {} bits", bits);
    return kFormats[static_cast<std::size_t>(bits - kFewestBits)];
}

int int_bits(const Format& format) {
    for (int bits = kFewestBits; bits <= kMostBits; ++bits)
        if (&format == &int_format(bits)) return bits;
    return 0;
}

GroupParameters find_parameters(const IntRounding& rounding, std::span<const float> values) {
    switch (rounding.rule) {
        case IntRule::gptq:
            return gptq_parameters(rounding, values);
        case IntRule::awq:
            return awq_parameters(rounding, values);
        case IntRule::compressed_tensors:
            return compressed_tensors_parameters(rounding, values);
        case IntRule::absmax:
            return absmax_parameters(rounding, values);
        case IntRule::full_range:
            return full_range_parameters(rounding, values);
    }
    return {};
}

int code_of(const IntRounding& rounding, const GroupParameters& parameters, float value) {
    switch (rounding.rule) {
        case IntRule::gptq:
            return gptq_code(rounding, parameters, value);
        case IntRule::awq:
            return awq_code(rounding, parameters, value);
        case IntRule::compressed_tensors:
            return compressed_tensors_code(rounding, parameters, value);
        case IntRule::absmax:
        case IntRule::full_range:
            return symmetric_code(rounding, parameters, value);
    }
    return 0;
}

void pack_int_groups(const IntRounding& rounding, const float* values, const OwnedWeight& owned) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(int_bits(*weight.format) == rounding.bits, "{} bits in format {}", rounding.bits, weight.format->name);
    NARAE_CHECK(rounding.symmetric || (rounding.rule != IntRule::absmax && rounding.rule != IntRule::full_range),
                "{}: a symmetric rule", weight.name);
    NARAE_CHECK(
        (rounding.rule != IntRule::absmax && rounding.rule != IntRule::full_range) || rounding.dtype == weight.scaling.dtype,
        "{}: a rule for scales of type {}", weight.name, dtype_name(rounding.dtype));
    const std::span<std::byte> scales = owned.bytes_of(BufferRole::scales), zeros = owned.bytes_of(BufferRole::zeros),
                               offsets = owned.bytes_of(BufferRole::offsets);
    NARAE_CHECK(rounding.symmetric || !zeros.empty() || !offsets.empty(), "{}: no place for zeros", weight.name);
    const DType dtype = weight.scaling.dtype;
    const ScaleGrid grid = scale_grid(weight);
    const auto row_bytes = static_cast<std::int64_t>(code_stream_bytes(static_cast<std::uint64_t>(weight.in), rounding.bits));
    const std::vector<std::int64_t> group_of = groups_of_columns(weight);
    std::vector<std::vector<std::int64_t>> columns_of(static_cast<std::size_t>(grid.columns));
    for (std::int64_t column = 0; column < weight.in; ++column)
        columns_of[static_cast<std::size_t>(group_of[static_cast<std::size_t>(column)])].push_back(column);

    std::vector<float> group;
    for (std::int64_t block = 0; block < grid.rows; ++block) {
        const std::int64_t row_begin = block * weight.scaling.rows;
        const std::int64_t row_end = row_begin + std::min(weight.scaling.rows, weight.out - row_begin);
        for (std::int64_t g = 0; g < grid.columns; ++g) {
            const std::vector<std::int64_t>& columns = columns_of[static_cast<std::size_t>(g)];
            const std::int64_t index = block * grid.columns + g;
            group.clear();
            for (std::int64_t row = row_begin; row < row_end; ++row)
                for (const std::int64_t column : columns) group.push_back(values[row * weight.in + column]);
            const GroupParameters parameters = find_parameters(rounding, group);
            store_number(scales, dtype, index, parameters.scale);
            if (!zeros.empty()) zeros[static_cast<std::size_t>(index)] = static_cast<std::byte>(parameters.zero);
            if (!offsets.empty()) store_number(offsets, dtype, index, -(rounded_to(dtype, parameters.scale) * parameters.zero));
            for (std::int64_t row = row_begin; row < row_end; ++row)
                for (const std::int64_t column : columns)
                    store_code(owned.bytes_of(BufferRole::codes).data() + row * row_bytes, column, rounding.bits,
                               code_of(rounding, parameters, values[row * weight.in + column]));
        }
    }
}

}  // namespace narae
