// Dense arrays. Tensor is a plain view that owns nothing; Buffer owns memory. Shapes are row-major, outermost
// dimension first, and are written beside every buffer in one vocabulary:
//   tokens, hidden, heads, kv_heads, head_dim, ffn, vocab, layers, blocks, groups, out, in
#pragma once

#include "tensor/dtype.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace narae {

inline constexpr int kMaxRank = 8;

class Shape {
public:
    Shape() = default;  // rank 0: a scalar
    Shape(std::initializer_list<std::int64_t> dims);
    explicit Shape(std::span<const std::int64_t> dims);  // BadFileError: rank over 8, a negative dimension

    int rank() const { return rank_; }
    std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
    std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
    std::int64_t elements() const;  // BadFileError when the product overflows
    std::string to_string() const;  // "[49152, 576]"
    friend bool operator==(const Shape&, const Shape&) = default;

private:
    std::array<std::int64_t, kMaxRank> dims_{};
    int rank_ = 0;
};

// A view of memory on some device. `data` is a host pointer for "cpu" and opaque elsewhere.
struct Tensor {
    std::byte* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;
    std::array<std::int64_t, kMaxRank> strides{};  // in elements; row-major unless said otherwise

    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(data);
    }
};

// A row-major view.
Tensor make_tensor(void* data, DType dtype, Shape shape);

// Owns host memory aligned to 64 bytes, zeroed; large ones ask for huge pages. ResourceError when there is not enough.
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes);
    ~Buffer();
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::span<std::byte> bytes() const { return {data_, size_}; }
    template <class T>
    std::span<T> as() const {
        return {reinterpret_cast<T*>(data_), size_ / sizeof(T)};
    }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0, mapped_ = 0;
};

}  // namespace narae
