// The CUDA runtime behind narae's errors. Every call of it goes through attempt(), which names the call, turns its error into
// a narae::Error that says what to try, and lets a test fail the k-th call. Host code only; one thread.
#pragma once

#include "base/function_ref.h"

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace narae::kernels::cuda {

// Runs one call. ResourceError: no memory, no driver, an old driver, no such card. InternalError: everything else; after a
// fault of a kernel the card's context is lost and every later call fails too.
void attempt(const char* call, FunctionRef<cudaError_t()> run);

// InternalError naming the call when a caller's mistake is found; for .cu files, where fmt's strings do not compile.
void require(bool right, const char* what);

// For tests: the k-th attempt from now (0: the next one) is not made and fails with `error`; a negative k disarms.
void fail_attempt(std::int64_t k, cudaError_t error);
std::int64_t attempts();  // so far

// Where kernels are launched, and what they may assume. `dependent`: a kernel may start while the one before it drains
// (programmatic dependent launch); every kernel waits by wait_for_inputs() before it touches what others write.
struct Stream {
    cudaStream_t handle = nullptr;
    int multiprocessors = 0;
    bool dependent = false;
};

// Device memory that is owned; its bytes are not initialised. ResourceError says what is free.
class DeviceMemory {
public:
    DeviceMemory() = default;
    explicit DeviceMemory(std::size_t bytes);
    // Out of the card's pool, which packs allocations tightly; for use on this stream only.
    DeviceMemory(const Stream& stream, std::size_t bytes);
    ~DeviceMemory();
    DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
    DeviceMemory& operator=(DeviceMemory&& other) noexcept {
        swap(other);
        return *this;
    }
    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }

private:
    void swap(DeviceMemory& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(pool_, other.pool_);
    }
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    cudaStream_t pool_ = nullptr;  // set: it came from the pool
};

// Host memory that the card reads and writes directly (pinned).
class PinnedMemory {
public:
    PinnedMemory() = default;
    explicit PinnedMemory(std::size_t bytes);
    ~PinnedMemory();
    PinnedMemory(PinnedMemory&& other) noexcept { swap(other); }
    PinnedMemory& operator=(PinnedMemory&& other) noexcept {
        swap(other);
        return *this;
    }
    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    void swap(PinnedMemory& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// An event that is owned; without timing.
class Event {
public:
    Event();
    ~Event();
    Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Event& operator=(Event&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    void record(const Stream& stream);
    void synchronize();

private:
    cudaEvent_t handle_ = nullptr;
};

void copy_to_device(const Stream& stream, void* to, const void* from, std::size_t bytes);  // asynchronous if `from` is pinned
void copy_to_host(const Stream& stream, void* to, const void* from, std::size_t bytes);    // asynchronous if `to` is pinned
void copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes);
void fill_zero(const Stream& stream, void* to, std::size_t bytes);
void synchronize(const Stream& stream);

}  // namespace narae::kernels::cuda
