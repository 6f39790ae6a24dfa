#include "kernels/cuda/bandwidth.h"

#include "kernels/cuda/launch.cuh"

#include <algorithm>
#include <array>

namespace narae::kernels::cuda {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 30;
constexpr int kThreads = 256, kAtOnce = 8;

// Every thread reads kAtOnce pieces of 16 bytes that are a grid apart; the sum is kept so that nothing is left out.
__global__ void __launch_bounds__(kThreads) read_kernel(const uint4* data, std::size_t count, unsigned* result) {
    wait_for_inputs();
    const std::size_t stride = std::size_t{gridDim.x} * kThreads;
    std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x;
    unsigned sum = 0;
    for (; i + (kAtOnce - 1) * stride < count; i += kAtOnce * stride) {
        uint4 piece[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) piece[k] = __ldcs(data + i + k * stride);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) sum += piece[k].x ^ piece[k].y ^ piece[k].z ^ piece[k].w;
    }
    for (; i < count; i += stride) sum += data[i].x ^ data[i].y ^ data[i].z ^ data[i].w;
    if (sum == 0x9e3779b9u) atomicAdd(result, sum);
}

class TimedEvent {
public:
    TimedEvent() {
        attempt("cudaEventCreate", [&] { return cudaEventCreate(&handle); });
    }
    ~TimedEvent() { (void)cudaEventDestroy(handle); }
    TimedEvent(const TimedEvent&) = delete;
    cudaEvent_t handle = nullptr;
};

}  // namespace

double measure_read_bandwidth(const Stream& stream) {
    const DeviceMemory data(kBytes), result(256);
    fill_zero(stream, data.data(), kBytes);
    fill_zero(stream, result.data(), 256);
    TimedEvent begin, end;
    std::array<float, 15> milliseconds{};
    for (float& time : milliseconds) {
        attempt("cudaEventRecord", [&] { return cudaEventRecord(begin.handle, stream.handle); });
        launch(stream, "read_bandwidth", read_kernel, dim3(static_cast<unsigned>(stream.multiprocessors) * 16), dim3(kThreads),
               0, data.as<const uint4>(), kBytes / sizeof(uint4), result.as<unsigned>());
        attempt("cudaEventRecord", [&] { return cudaEventRecord(end.handle, stream.handle); });
        synchronize(stream);
        attempt("cudaEventElapsedTime", [&] { return cudaEventElapsedTime(&time, begin.handle, end.handle); });
    }
    std::ranges::sort(milliseconds);
    return static_cast<double>(kBytes) / (static_cast<double>(milliseconds[milliseconds.size() / 2]) / 1e3);
}

}  // namespace narae::kernels::cuda
