#include "formats/scales.h"

#include "base/checked.h"
#include "base/error.h"
#include "tensor/scalar.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace narae {
namespace {

template <class T>
T load(std::span<const std::byte> bytes, std::int64_t index) {
    T value;
    std::memcpy(&value, bytes.data() + index * static_cast<std::int64_t>(sizeof value), sizeof value);
    return value;
}

template <class T>
void store(std::span<std::byte> bytes, std::int64_t index, T value) {
    std::memcpy(bytes.data() + index * static_cast<std::int64_t>(sizeof value), &value, sizeof value);
}

}  // namespace

ScaleGrid scale_grid(const PackedWeight& weight) {
    const Scaling& scaling = weight.scaling;
    if (scaling.rows <= 0 || scaling.columns <= 0) return {};
    return {divided_up(weight.out, scaling.rows), divided_up(weight.in, scaling.columns)};
}

void check_scaling(const PackedWeight& weight, std::initializer_list<DType> dtypes) {
    const Scaling& scaling = weight.scaling;
    if (scaling.rows <= 0 || scaling.columns <= 0)
        throw_error<BadFileError>("weight {}: scales of [{}, {}] elements, need at least one", weight.name, scaling.rows,
                                  scaling.columns);
    if (std::ranges::find(dtypes, scaling.dtype) == dtypes.end()) {
        std::string names;
        for (const DType dtype : dtypes) names += fmt::format("{}{}", names.empty() ? "" : ", ", dtype_name(dtype));
        throw_error<BadFileError>("weight {}: scales of type {}, format {} needs {}", weight.name, dtype_name(scaling.dtype),
                                  weight.format->name, names);
    }
    if (scaling.nested != 0)
        throw_error<BadFileError>("weight {}: quantized scales in blocks of {}, format {} has none", weight.name,
                                  scaling.nested, weight.format->name);
}

std::uint64_t bytes_of_numbers(const PackedWeight& weight, std::uint64_t rows, std::uint64_t columns, DType dtype) {
    return checked_mul(checked_mul(rows, columns, weight.name), static_cast<std::uint64_t>(dtype_bits(dtype) / 8), weight.name);
}

float load_number(std::span<const std::byte> numbers, DType dtype, std::int64_t index) {
    switch (dtype) {
        case DType::f32:
            return load<float>(numbers, index);
        case DType::f16:
            return to_float(load<Half>(numbers, index));
        case DType::bf16:
            return to_float(load<BFloat16>(numbers, index));
        case DType::f8_e4m3:
            return float8_e4m3_to_float(load<std::uint8_t>(numbers, index));
        case DType::f8_e8m0:
            return float8_e8m0_to_float(load<std::uint8_t>(numbers, index));
        default:
            check_failed(__FILE__, __LINE__, "a type of scales", std::string(dtype_name(dtype)));
    }
}

void store_number(std::span<std::byte> numbers, DType dtype, std::int64_t index, float value) {
    switch (dtype) {
        case DType::f32:
            return store(numbers, index, value);
        case DType::f16:
            return store(numbers, index, to_half(value));
        case DType::bf16:
            return store(numbers, index, to_bfloat16(value));
        case DType::f8_e4m3:
            return store(numbers, index, float_to_float8_e4m3(value));
        case DType::f8_e8m0:
            return store(numbers, index, float_to_float8_e8m0(value));
        default:
            check_failed(__FILE__, __LINE__, "a type of scales", std::string(dtype_name(dtype)));
    }
}

float rounded_to(DType dtype, float value) {
    std::array<std::byte, sizeof(float)> bytes{};
    store_number(bytes, dtype, 0, value);
    return load_number(bytes, dtype, 0);
}

}  // namespace narae
