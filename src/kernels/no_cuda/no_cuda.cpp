// What a build without CUDA answers when it is asked for a card.
#include "base/error.h"
#include "kernels/backend.h"

namespace narae::kernels {
namespace {

constexpr const char* kReason =
    "this build has no CUDA; install CUDA 13 or newer (nvcc) and configure with -DNARAE_CUDA=on, or use --device cpu";

std::vector<DeviceInfo> cuda_devices() {
    return {{.name = "cuda", .description = "NVIDIA graphics cards", .usable = false, .reason = kReason}};
}

std::unique_ptr<Backend> open_cuda(const BackendOptions& options) {
    throw_error<ResourceError>("device {}: {}", options.device, kReason);
}

const RegisterBackend registered({.prefix = "cuda", .devices = cuda_devices, .open = open_cuda});

}  // namespace
}  // namespace narae::kernels
