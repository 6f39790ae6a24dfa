// cuBLASLt for products of many rows, opened at run time: the program starts, and the card works (slower for many rows),
// without it.
#pragma once

#include "kernels/cuda/runtime.h"

#include <cstdint>
#include <memory>
#include <string>

namespace narae::kernels::cuda {

class Blas {
public:
    // Looks for libcublasLt.so.13 in the loader's path, the CUDA toolkit's folders, and PyPI's nvidia packages.
    Blas();
    ~Blas();
    bool available() const { return state_ != nullptr; }
    const std::string& reason() const { return reason_; }  // why not

    // Scratch that product() uses; `workspace` bytes at an address aligned to 256.
    static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

    // y[r, o] = alpha * sum_i x[r, i] w[o, i] + beta * y[r, o]: x [rows, in] and w [out, in] 16-bit values (float16 or
    // bfloat16), y float32 or (with bfloat16) bfloat16, rows y_stride apart. in is a multiple of 8. The algorithm is chosen
    // once for each shape.
    void product(const Stream& stream, int rows, int out, int in, const void* x, const void* w, bool float16, void* y,
                 bool y_bf16, std::int64_t y_stride, float alpha, float beta, void* workspace);

private:
    struct State;
    std::unique_ptr<State> state_;
    std::string reason_;
};

}  // namespace narae::kernels::cuda
