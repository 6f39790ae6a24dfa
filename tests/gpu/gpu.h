// What the tests of the CUDA backend share: a card, or a skip that says what is missing.
#pragma once

#include "kernels/cuda/cuda_backend.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace narae::test {

// The first usable card; empty: none, and `reason` says why.
inline std::string usable_card(std::string& reason) {
    for (const kernels::DeviceInfo& info : kernels::devices()) {
        if (!info.name.starts_with("cuda")) continue;
        if (info.usable) return info.name;
        reason = info.reason;
    }
    return {};
}

class Gpu : public ::testing::Test {
protected:
    void SetUp() override {
        std::string reason;
        card_ = usable_card(reason);
        if (card_.empty()) GTEST_SKIP() << "needs an NVIDIA card of compute capability 8.0 or newer: " << reason;
    }
    std::unique_ptr<kernels::cuda::CudaBackend> open(const std::string& instruction_set = "") const {
        return std::make_unique<kernels::cuda::CudaBackend>(
            0, kernels::BackendOptions{.device = card_, .instruction_set = instruction_set});
    }
    std::string card_;
};

}  // namespace narae::test
