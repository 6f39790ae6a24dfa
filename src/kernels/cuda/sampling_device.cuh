// What choosing a token is computed with: the arithmetic that must give the CPU's bits (kernels/sampling.h defines them,
// sampling_weights.h the weights), and sums over the threads of a block. The arithmetic also runs on the host. For .cu files
// only.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling_rows.h"

#include <cstdint>
#include <cstring>
#include <limits>

namespace narae::kernels::cuda {

constexpr float kLargestFloat = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- single float operations, never contracted whatever the compiler's options -----------------------------------------

__host__ __device__ inline float add(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}
__host__ __device__ inline float subtract(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fsub_rn(a, b);
#else
    return a - b;
#endif
}
__host__ __device__ inline float multiply(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}
__host__ __device__ inline float divide(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

// ---- order --------------------------------------------------------------------------------------------------------------

// Orders logits from the largest to the smallest, with -0 equal to 0.
__host__ __device__ inline std::uint32_t descending_rank(float logit) {
    const float without_minus_zero = add(logit, 0.0f);
    std::uint32_t bits;
    memcpy(&bits, &without_minus_zero, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

__host__ __device__ inline float logit_of_rank(std::uint32_t rank) {
    const std::uint32_t bits = rank >> 31 ? rank : ~(rank | 0x80000000u);
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

// A token's place in some order: rank, then id.
__host__ __device__ inline Word place_key(std::uint32_t rank, int id) {
    return Word{rank} << 32 | static_cast<std::uint32_t>(id);
}

// ---- weights ------------------------------------------------------------------------------------------------------------

__host__ __device__ inline float exponent_of(float logit, float max, float factor) {
    return multiply(subtract(logit, max), factor);
}

// 2^y as a 40-bit fixed-point number.
__host__ __device__ inline Word weight_of(float y) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    y = y < -64.0f ? -64.0f : y;
    const float n = subtract(add(y, kRound), kRound);
    const float f = subtract(y, n);
    float p = add(multiply(f, 0x1.41fbbcp-13f), 0x1.5f3e52p-10f);
    p = add(multiply(p, f), 0x1.3b2d4cp-7f);
    p = add(multiply(p, f), 0x1.c6aee8p-5f);
    p = add(multiply(p, f), 0x1.ebfbdcp-3f);
    p = add(multiply(p, f), 0x1.62e430p-1f);
    p = add(multiply(p, f), 1.0f);
    const auto significand = static_cast<Word>(static_cast<int>(multiply(p, 16777216.0f)));
    const int depth = static_cast<int>(-n);
    return (significand << 16) >> (depth > 63 ? 63 : depth);
}

// -y in units of 2^-20, for a y whose weight is not 0.
__host__ __device__ inline int depth_of(float y) { return static_cast<int>(multiply(y, -1048576.0f)); }

__host__ __device__ inline int bin_of(float y) {
    const float bin = multiply(y, -16.0f);
    return bin < static_cast<float>(kBins - 1) ? static_cast<int>(bin) : kBins - 1;
}

// ---- the threads of a block ---------------------------------------------------------------------------------------------

constexpr int kThreads = 512;  // of every block here
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int warp_of_thread() { return static_cast<int>(threadIdx.x) / 32; }

__device__ __forceinline__ Word warp_sum(Word value) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) value += __shfl_xor_sync(kAllLanes, value, o);
    return value;
}

struct Scan {
    Word before = 0, total = 0;  // of the threads before this one; of all
};

// Every thread of the block calls it.
__device__ inline Scan block_scan(Word value) {
    __shared__ Word of_warp[kWarps];
    Word reached = value;
#pragma unroll
    for (int o = 1; o < 32; o <<= 1) {
        const Word before = __shfl_up_sync(kAllLanes, reached, o);
        if (lane_of_thread() >= o) reached += before;
    }
    __syncthreads();  // the call before has been read
    if (lane_of_thread() == 31) of_warp[warp_of_thread()] = reached;
    __syncthreads();
    Scan scan{reached - value, 0};
    for (int warp = 0; warp < kWarps; ++warp) {
        const Word sum = of_warp[warp];
        scan.total += sum;
        if (warp < warp_of_thread()) scan.before += sum;
    }
    return scan;
}

// Once in a kernel.
__device__ inline Word block_min(Word value) {
    __shared__ Word of_warp[kWarps];
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
        const Word other = __shfl_xor_sync(kAllLanes, value, o);
        value = other < value ? other : value;
    }
    if (lane_of_thread() == 0) of_warp[warp_of_thread()] = value;
    __syncthreads();
    for (int warp = 0; warp < kWarps; ++warp) value = of_warp[warp] < value ? of_warp[warp] : value;
    return value;
}

// Counts and 64-bit amounts by bin, in shared memory, where only 32-bit atomics are fast.
template <int kCount>
struct Histogram {
    unsigned low[kCount], high[kCount], counts[kCount];

    __device__ void clear() {
        for (int bin = static_cast<int>(threadIdx.x); bin < kCount; bin += kThreads) low[bin] = high[bin] = counts[bin] = 0;
    }
    __device__ Word amount(int bin) const { return Word{high[bin]} << 32 | low[bin]; }

    // Every thread of the warp calls it. Threads that agree on the bin, as those of many equal logits do, add up first.
    __device__ void add(bool taken, int bin, Word amount) {
        const unsigned lanes = __ballot_sync(kAllLanes, taken);
        if (lanes == 0) return;
        const int first = __shfl_sync(kAllLanes, bin, __ffs(static_cast<int>(lanes)) - 1);
        if (__all_sync(kAllLanes, !taken || bin == first)) {
            const Word sum = warp_sum(taken ? amount : Word{0});
            if (lane_of_thread() == 0) put(first, sum, static_cast<unsigned>(__popc(lanes)));
        } else if (taken) {
            put(bin, amount, 1);
        }
    }

private:
    __device__ void put(int bin, Word amount, unsigned count) {
        const auto part = static_cast<unsigned>(amount);
        const unsigned before = atomicAdd(&low[bin], part);
        const unsigned upper = static_cast<unsigned>(amount >> 32) + (before + part < part ? 1u : 0u);
        if (upper != 0) atomicAdd(&high[bin], upper);
        atomicAdd(&counts[bin], count);
    }
};

// Whether this block is the last of `blocks` to come here; it then sees what the others wrote before. The counter is 0 again.
__device__ inline bool last_to_arrive(unsigned* arrived, unsigned blocks) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicInc(arrived, blocks - 1) == blocks - 1;
        __threadfence();
    }
    __syncthreads();
    return last;
}

}  // namespace narae::kernels::cuda
