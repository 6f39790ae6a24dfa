// Scales in a buffer of their own: how many there are, where each lies, and its value. For the formats of this folder, and for
// those who fill them or lay them out otherwise.
#pragma once

#include "formats/format.h"

#include <cstdint>
#include <initializer_list>
#include <span>

namespace narae {

// value / divisor, rounded up; value >= 0, divisor > 0.
constexpr std::int64_t divided_up(std::int64_t value, std::int64_t divisor) {
    return value / divisor + (value % divisor != 0 ? 1 : 0);
}

// Blocks of Scaling over a weight. The scale of element [row, column] has the index
// row / scaling.rows * grid.columns + column / scaling.columns.
struct ScaleGrid {
    std::int64_t rows = 0, columns = 0;
};
ScaleGrid scale_grid(const PackedWeight& weight);

// BadFileError naming the weight unless blocks have elements and the scales one of these types, not quantized themselves.
void check_scaling(const PackedWeight& weight, std::initializer_list<DType> dtypes);

// Bytes of that many numbers; BadFileError naming the weight when it overflows.
std::uint64_t bytes_of_numbers(const PackedWeight& weight, std::uint64_t rows, std::uint64_t columns, DType dtype);

// Number `index` of a buffer of f32, f16, bf16, f8_e4m3 or f8_e8m0, exact.
float load_number(std::span<const std::byte> numbers, DType dtype, std::int64_t index);
// Rounds to the nearest of the type, as tensor/scalar.h does.
void store_number(std::span<std::byte> numbers, DType dtype, std::int64_t index, float value);
// The value that store_number leaves.
float rounded_to(DType dtype, float value);

}  // namespace narae
