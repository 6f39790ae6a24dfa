// Working memory of the CPU backend: regions that allocate() places in one arena, sized by the model's limits. A region that
// is asked for more (a call without allocate, as tests and calibration make) gets a buffer of its own, once.
#pragma once

#include "tensor/tensor.h"

#include <cstddef>
#include <span>

namespace narae::kernels::cpu {

class Region {
public:
    void place(std::span<std::byte> memory) { memory_ = memory; }
    std::byte* get(std::size_t bytes) {
        if (bytes > memory_.size()) {
            own_ = Buffer(bytes);
            memory_ = own_.bytes();
        }
        return memory_.data();
    }

private:
    std::span<std::byte> memory_;
    Buffer own_;
};

}  // namespace narae::kernels::cpu
