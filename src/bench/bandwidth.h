// How fast this machine reads memory: the limit of decoding, which reads every weight once per step. Speeds are shown beside
// it, measured in the same run, since clocks, neighbours and power limits change it.
#pragma once

#include <cstdint>

namespace narae::bench {

struct Bandwidth {
    int threads = 0;
    std::uint64_t buffer_bytes = 0;
    double bytes_per_second = 0.0;         // of the fastest pass: what the memory can give
    double median_bytes_per_second = 0.0;  // over the passes
};

inline constexpr std::uint64_t kBandwidthBytes = std::uint64_t{512} << 20;

// Reads a buffer `passes` times with `threads` threads, each its own part of it. The buffer is written first, so that its pages
// are real and, where memory has several nodes, near their thread. It must be larger than the caches to mean anything.
// ResourceError: no memory for it.
Bandwidth measure_read_bandwidth(int threads, std::uint64_t buffer_bytes = kBandwidthBytes, int passes = 7);

}  // namespace narae::bench
