#include "tensor/dtype.h"

#include "base/error.h"

namespace narae {
namespace {

struct Entry {
    DType dtype;
    int bits;
    std::string_view name;
};

constexpr Entry kDTypes[] = {
    {DType::f64, 64, "F64"},
    {DType::f32, 32, "F32"},
    {DType::f16, 16, "F16"},
    {DType::bf16, 16, "BF16"},
    {DType::f8_e4m3, 8, "F8_E4M3"},
    {DType::f8_e5m2, 8, "F8_E5M2"},
    {DType::f8_e8m0, 8, "F8_E8M0"},
    {DType::i64, 64, "I64"},
    {DType::i32, 32, "I32"},
    {DType::i16, 16, "I16"},
    {DType::i8, 8, "I8"},
    {DType::u64, 64, "U64"},
    {DType::u32, 32, "U32"},
    {DType::u16, 16, "U16"},
    {DType::u8, 8, "U8"},
    {DType::boolean, 8, "BOOL"},
    {DType::c64, 64, "C64"},
    {DType::f8_e4m3fnuz, 8, "F8_E4M3FNUZ"},
    {DType::f8_e5m2fnuz, 8, "F8_E5M2FNUZ"},
    {DType::f4_e2m1, 4, "F4"},
    {DType::f6_e2m3, 6, "F6_E2M3"},
    {DType::f6_e3m2, 6, "F6_E3M2"},
};

const Entry& entry(DType dtype) {
    for (const Entry& e : kDTypes)
        if (e.dtype == dtype) return e;
    check_failed(__FILE__, __LINE__, "a known DType", fmt::format("value {}", static_cast<int>(dtype)));
}

}  // namespace

int dtype_bits(DType dtype) { return entry(dtype).bits; }

std::string_view dtype_name(DType dtype) { return entry(dtype).name; }

std::optional<DType> find_dtype(std::string_view name) {
    for (const Entry& e : kDTypes)
        if (e.name == name) return e.dtype;
    return std::nullopt;
}

}  // namespace narae
