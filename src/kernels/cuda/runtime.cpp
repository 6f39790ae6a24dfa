#include "kernels/cuda/runtime.h"

#include "base/error.h"
#include "base/progress.h"

namespace narae::kernels::cuda {
namespace {

std::int64_t g_attempts = 0;
std::int64_t g_failing = -1;  // the number of the attempt that fails
cudaError_t g_failure = cudaSuccess;

[[noreturn]] void fail(const char* call, cudaError_t error) {
    const char* text = cudaGetErrorString(error);
    switch (error) {
        case cudaErrorMemoryAllocation: {
            std::size_t free = 0, total = 0;
            if (cudaMemGetInfo(&free, &total) != cudaSuccess) free = 0;
            throw_error<ResourceError>(
                "{}: not enough memory on the card, {} free; use a smaller context or fewer sequences, or free the card", call,
                format_bytes(free));
        }
        case cudaErrorInsufficientDriver:
            throw_error<ResourceError>("{}: the NVIDIA driver is older than CUDA {}.{}; update it, or use --device cpu", call,
                                       CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        case cudaErrorNoDevice:
        case cudaErrorInvalidDevice:
            throw_error<ResourceError>("{}: no such NVIDIA card; see narae doctor, or use --device cpu", call);
        case cudaErrorNoKernelImageForDevice:
            throw_error<ResourceError>(
                "{}: this build has no code for the card's architecture; configure with -DNARAE_CUDA_ARCHITECTURES for it, or "
                "use --device cpu",
                call);
        case cudaErrorDevicesUnavailable:
            throw_error<ResourceError>("{}: the card is taken by another process ({}); try later, or use --device cpu", call,
                                       text);
        default:
            throw_error<InternalError>("{}: {} ({}); the card's state is lost, start again", call, text,
                                       cudaGetErrorName(error));
    }
}

}  // namespace

void attempt(const char* call, FunctionRef<cudaError_t()> run) {
    const cudaError_t error = g_attempts++ == g_failing ? g_failure : run();
    if (error == cudaSuccess) return;
    (void)cudaGetLastError();  // an error of one launch is not told again by the next call
    fail(call, error);
}

void require(bool right, const char* what) { NARAE_CHECK(right, "{}", what); }

void fail_attempt(std::int64_t k, cudaError_t error) {
    g_failing = k < 0 ? -1 : g_attempts + k;
    g_failure = error;
}

std::int64_t attempts() { return g_attempts; }

DeviceMemory::DeviceMemory(std::size_t bytes) : size_(bytes) {
    if (bytes > 0) attempt("cudaMalloc", [&] { return cudaMalloc(reinterpret_cast<void**>(&data_), bytes); });
}
DeviceMemory::DeviceMemory(const Stream& stream, std::size_t bytes) : size_(bytes), pool_(stream.handle) {
    if (bytes > 0)
        attempt("cudaMallocAsync", [&] { return cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes, stream.handle); });
}
DeviceMemory::~DeviceMemory() {
    if (data_ && pool_) (void)cudaFreeAsync(data_, pool_);
    if (data_ && !pool_) (void)cudaFree(data_);
}

PinnedMemory::PinnedMemory(std::size_t bytes) : size_(bytes) {
    if (bytes > 0) attempt("cudaMallocHost", [&] { return cudaMallocHost(reinterpret_cast<void**>(&data_), bytes); });
}
PinnedMemory::~PinnedMemory() {
    if (data_) (void)cudaFreeHost(data_);
}

Event::Event() {
    attempt("cudaEventCreate", [&] { return cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming); });
}
Event::~Event() {
    if (handle_) (void)cudaEventDestroy(handle_);
}
void Event::record(const Stream& stream) {
    attempt("cudaEventRecord", [&] { return cudaEventRecord(handle_, stream.handle); });
}
void Event::synchronize() {
    attempt("cudaEventSynchronize", [&] { return cudaEventSynchronize(handle_); });
}

void copy_to_device(const Stream& stream, void* to, const void* from, std::size_t bytes) {
    if (bytes == 0) return;
    attempt("copy to the card", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream.handle); });
}
void copy_to_host(const Stream& stream, void* to, const void* from, std::size_t bytes) {
    if (bytes == 0) return;
    attempt("copy from the card", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream.handle); });
}
void copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes) {
    if (bytes == 0) return;
    attempt("copy on the card", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream.handle); });
}
void fill_zero(const Stream& stream, void* to, std::size_t bytes) {
    if (bytes == 0) return;
    attempt("cudaMemset", [&] { return cudaMemsetAsync(to, 0, bytes, stream.handle); });
}
void synchronize(const Stream& stream) {
    attempt("cudaStreamSynchronize", [&] { return cudaStreamSynchronize(stream.handle); });
}

}  // namespace narae::kernels::cuda
