#include "tensor/tensor.h"

#include "base/error.h"
#include "base/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace narae {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMapFrom = std::size_t{1} << 20;
constexpr std::size_t kLargest = std::size_t{1} << 47;  // the address space; keeps the roundings below from overflowing

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

[[noreturn]] void out_of_memory(std::size_t bytes) {
    throw_error<ResourceError>(
        "not enough memory: a buffer of {} bytes ({:.1f} MiB), available {:.1f} MiB; try a smaller "
        "model, a shorter context or fewer requests at once",
        bytes, static_cast<double>(bytes) / (1 << 20), static_cast<double>(available_bytes()) / (1 << 20));
}

// Zeroed pages; from 2 MiB on, the address is a multiple of 2 MiB so that huge pages fit.
std::byte* map_pages(std::size_t bytes, std::size_t& mapped) {
    if (bytes > available_bytes()) out_of_memory(bytes);
    const bool huge = bytes >= kHugePage;
    mapped = round_up(bytes, kSmallPage);
    const std::size_t reserved = mapped + (huge ? kHugePage - kSmallPage : 0);
    void* address = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) out_of_memory(bytes);
    auto* data = static_cast<std::byte*>(address);
    if (huge) {
        const auto begin = reinterpret_cast<std::uintptr_t>(data);
        const std::size_t before = round_up(begin, kHugePage) - begin;
        const std::size_t after = reserved - before - mapped;
        if (before > 0) munmap(data, before);
        data += before;
        if (after > 0) munmap(data + mapped, after);
    }
    madvise(data, mapped, MADV_HUGEPAGE);  // a wish: small pages work as well
    return data;
}

}  // namespace

Shape::Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    if (dims.size() > kMaxRank) throw_error<BadFileError>("shape: rank {}, need at most {}", dims.size(), kMaxRank);
    for (std::size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] < 0) throw_error<BadFileError>("shape: dimension {} is {}, need 0 or more", i, dims[i]);
        dims_[i] = dims[i];
    }
}

std::int64_t Shape::elements() const {
    std::int64_t product = 1;
    for (const std::int64_t dim : dims())
        if (__builtin_mul_overflow(product, dim, &product))
            throw_error<BadFileError>("shape {}: the number of elements overflows", to_string());
    return product;
}

std::string Shape::to_string() const {
    std::string text = "[";
    for (int axis = 0; axis < rank_; ++axis) text += fmt::format("{}{}", axis == 0 ? "" : ", ", (*this)[axis]);
    return text + "]";
}

Tensor make_tensor(void* data, DType dtype, Shape shape) {
    Tensor tensor{static_cast<std::byte*>(data), dtype, shape, {}};
    std::int64_t stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        tensor.strides[static_cast<std::size_t>(axis)] = stride;
        if (__builtin_mul_overflow(stride, shape[axis], &stride))
            throw_error<BadFileError>("shape {}: the number of elements overflows", shape.to_string());
    }
    return tensor;
}

Buffer::Buffer(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    if (bytes > kLargest) out_of_memory(bytes);
    if (bytes >= kMapFrom) {
        data_ = map_pages(bytes, mapped_);
        return;
    }
    const std::size_t rounded = round_up(bytes, kAlignment);
    data_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    if (!data_) out_of_memory(bytes);
    std::memset(data_, 0, rounded);
}

Buffer::~Buffer() {
    if (mapped_ > 0)
        munmap(data_, mapped_);
    else
        std::free(data_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    std::swap(data_, taken.data_);
    std::swap(size_, taken.size_);
    std::swap(mapped_, taken.mapped_);
    return *this;
}

}  // namespace narae
