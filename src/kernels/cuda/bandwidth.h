// How fast the card reads its memory: the limit of decoding.
#pragma once

#include "kernels/cuda/runtime.h"

namespace narae::kernels::cuda {

// Bytes per second of the median of several passes over a buffer that no cache holds. ResourceError: no memory for it.
double measure_read_bandwidth(const Stream& stream);

}  // namespace narae::kernels::cuda
