// Device memory that grows in place: a range of addresses reserved once, backed piece by piece as it is used (CUDA's virtual
// memory management). For the KV cache.
#pragma once

#include <cstddef>
#include <vector>

namespace narae::kernels::cuda {

class VirtualMemory {
public:
    VirtualMemory() = default;
    // Reserves addresses only. `piece`: bytes that growing adds at the least, rounded up to the card's granularity.
    VirtualMemory(int device, std::size_t most, std::size_t piece);
    ~VirtualMemory();
    VirtualMemory(VirtualMemory&& other) noexcept { swap(other); }
    VirtualMemory& operator=(VirtualMemory&& other) noexcept {
        swap(other);
        return *this;
    }

    // Backs at least the first `bytes`; contents stay. ResourceError: not enough memory, or more than was reserved. Does not
    // wait for the card. New memory is not initialised.
    void grow(std::size_t bytes);
    std::byte* data() const { return data_; }
    std::size_t backed() const { return backed_; }

private:
    void swap(VirtualMemory& other) noexcept;
    int device_ = 0;
    std::byte* data_ = nullptr;
    std::size_t reserved_ = 0, piece_ = 0, backed_ = 0;
    std::vector<std::size_t> pieces_;  // sizes, in order
};

}  // namespace narae::kernels::cuda
