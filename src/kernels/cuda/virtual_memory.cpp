#include "kernels/cuda/virtual_memory.h"

#include "base/error.h"
#include "base/progress.h"
#include "kernels/cuda/runtime.h"

#include <cuda.h>

#include <algorithm>
#include <utility>

namespace narae::kernels::cuda {
namespace {

// The driver's functions, found at run time so that the program starts where there is no driver.
struct Driver {
    CUresult (*get_granularity)(std::size_t*, const CUmemAllocationProp*, CUmemAllocationGranularity_flags);
    CUresult (*reserve)(CUdeviceptr*, std::size_t, std::size_t, CUdeviceptr, unsigned long long);
    CUresult (*free_addresses)(CUdeviceptr, std::size_t);
    CUresult (*create)(CUmemGenericAllocationHandle*, std::size_t, const CUmemAllocationProp*, unsigned long long);
    CUresult (*release)(CUmemGenericAllocationHandle);
    CUresult (*map)(CUdeviceptr, std::size_t, std::size_t, CUmemGenericAllocationHandle, unsigned long long);
    CUresult (*unmap)(CUdeviceptr, std::size_t);
    CUresult (*set_access)(CUdeviceptr, std::size_t, const CUmemAccessDesc*, std::size_t);
};

template <class Function>
void find(const char* name, Function& function) {
    constexpr unsigned kVersion = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    attempt(name, [&] { return cudaGetDriverEntryPointByVersion(name, &found, kVersion, cudaEnableDefault, &result); });
    if (result != cudaDriverEntryPointSuccess || !found)
        throw_error<ResourceError>("the NVIDIA driver has no {}; update it, or use --device cpu", name);
    function = reinterpret_cast<Function>(found);
}

const Driver& driver() {
    static const Driver functions = [] {
        Driver d{};
        find("cuMemGetAllocationGranularity", d.get_granularity);
        find("cuMemAddressReserve", d.reserve);
        find("cuMemAddressFree", d.free_addresses);
        find("cuMemCreate", d.create);
        find("cuMemRelease", d.release);
        find("cuMemMap", d.map);
        find("cuMemUnmap", d.unmap);
        find("cuMemSetAccess", d.set_access);
        return d;
    }();
    return functions;
}

cudaError_t as_runtime_error(CUresult result) {
    if (result == CUDA_SUCCESS) return cudaSuccess;
    return result == CUDA_ERROR_OUT_OF_MEMORY ? cudaErrorMemoryAllocation : static_cast<cudaError_t>(result);
}

CUmemAllocationProp properties(int device) {
    CUmemAllocationProp prop{};
    prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    prop.location.id = device;
    return prop;
}

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

VirtualMemory::VirtualMemory(int device, std::size_t most, std::size_t piece) : device_(device) {
    const CUmemAllocationProp prop = properties(device);
    std::size_t granularity = 0;
    attempt("cuMemGetAllocationGranularity",
            [&] { return as_runtime_error(driver().get_granularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM)); });
    piece_ = round_up(std::max<std::size_t>(piece, 1), granularity);
    reserved_ = round_up(std::max<std::size_t>(most, 1), granularity);
    CUdeviceptr address = 0;
    attempt("cuMemAddressReserve", [&] { return as_runtime_error(driver().reserve(&address, reserved_, 0, 0, 0)); });
    data_ = reinterpret_cast<std::byte*>(address);
}

VirtualMemory::~VirtualMemory() {
    if (!data_) return;
    auto address = reinterpret_cast<CUdeviceptr>(data_);
    for (const std::size_t piece : pieces_) {
        (void)driver().unmap(address, piece);
        address += piece;
    }
    (void)driver().free_addresses(reinterpret_cast<CUdeviceptr>(data_), reserved_);
}

void VirtualMemory::swap(VirtualMemory& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(reserved_, other.reserved_);
    std::swap(piece_, other.piece_);
    std::swap(backed_, other.backed_);
    std::swap(pieces_, other.pieces_);
}

void VirtualMemory::grow(std::size_t bytes) {
    if (bytes <= backed_) return;
    if (bytes > reserved_)
        throw_error<ResourceError>("{} of device memory asked for where at most {} were planned", format_bytes(bytes),
                                   format_bytes(reserved_));
    const std::size_t size = std::min(round_up(bytes - backed_, piece_), reserved_ - backed_);
    const CUmemAllocationProp prop = properties(device_);
    CUmemGenericAllocationHandle handle = 0;
    attempt("cuMemCreate", [&] { return as_runtime_error(driver().create(&handle, size, &prop, 0)); });
    const auto address = reinterpret_cast<CUdeviceptr>(data_) + backed_;
    CUmemAccessDesc access{};
    access.location = prop.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    bool mapped = false;
    try {
        attempt("cuMemMap", [&] { return as_runtime_error(driver().map(address, size, 0, handle, 0)); });
        mapped = true;
        attempt("cuMemSetAccess", [&] { return as_runtime_error(driver().set_access(address, size, &access, 1)); });
        pieces_.push_back(size);
    } catch (...) {
        if (mapped) (void)driver().unmap(address, size);
        (void)driver().release(handle);
        throw;
    }
    // The mapping keeps the memory; it goes when it is unmapped.
    (void)driver().release(handle);
    backed_ += size;
}

}  // namespace narae::kernels::cuda
