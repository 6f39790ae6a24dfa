// Element types of dense tensors, as safetensors names them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace narae {

enum class DType : std::uint8_t {
    f64,
    f32,
    f16,
    bf16,
    f8_e4m3,
    f8_e5m2,
    f8_e8m0,
    i64,
    i32,
    i16,
    i8,
    u64,
    u32,
    u16,
    u8,
    boolean,
    c64,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    f4_e2m1,
    f6_e2m3,
    f6_e3m2,
};

int dtype_bits(DType dtype);               // 4 and 6 for the sub-byte types
std::string_view dtype_name(DType dtype);  // "F32", "BF16", "I8", ... (safetensors' spelling)
std::optional<DType> find_dtype(std::string_view name);

}  // namespace narae
