// NumPy's .npy files (C order, little-endian; written as format version 1.0, read as 1.0, 2.0 or 3.0):
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
// Element types: those that NumPy knows too (F64, F32, F16, I64 ... U8, BOOL, C64).
#pragma once

#include "base/error.h"
#include "base/file.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace narae {

// Writes atomically. Rows may come in pieces: append() until shape is filled, then commit(). IoError when it cannot be
// written; UsageError for an element type that NumPy does not know.
class NpyWriter {
public:
    NpyWriter(const Path& path, DType dtype, Shape shape);
    void append(std::span<const std::byte> bytes);
    void commit();  // InternalError unless exactly the shape's bytes were appended

private:
    AtomicFile file_;
    std::uint64_t expected_ = 0, appended_ = 0;
};

struct NpyArray {
    DType dtype = DType::f32;
    Shape shape;
    std::vector<std::byte> bytes;

    template <class T>
    std::span<const T> as() const {
        NARAE_CHECK(static_cast<int>(sizeof(T) * 8) == dtype_bits(dtype), "elements of {} bits read as {} bytes",
                    dtype_bits(dtype), sizeof(T));
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }
};

// IoError: unreadable; BadFileError: damaged, truncated, Fortran order, big-endian, an unknown element type.
NpyArray read_npy(const Path& path);
NpyArray parse_npy(std::span<const std::byte> file, std::string_view what);  // a whole file in memory; `what` names it

}  // namespace narae
