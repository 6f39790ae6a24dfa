// What this machine can do at most, measured: reading memory and multiplying. The denominators of bench_kernels.
#pragma once

#include "base/threads.h"

#include <cstdint>

namespace narae::bench {

// Bytes a second that the threads together read from buffers of `bytes` in all, one sequential stream each.
double read_bandwidth(ThreadPool& threads, std::int64_t bytes);
// Operations a second (a multiplication and an addition are two) of one thread: products of int8 (VNNI, 512 bits) and f32
// (fused multiply-add); 0 where the processor lacks AVX-512.
double int8_peak();
double float_peak();

}  // namespace narae::bench
