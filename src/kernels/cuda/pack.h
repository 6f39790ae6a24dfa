// Packing on the card: rows of a file's blocks, or of float32 values, into a weight's layout.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"

namespace narae::kernels::cuda {

// Rows [begin, begin + count) of a part, as they lie in the file, into strips. The weight's memory was zero before.
// Where the place has an order of heads: whole heads.
void pack_blocks(const Stream& stream, const std::byte* blocks, int begin, int count, StripPlace place, const Segment& to);
// The same rows as float32 [count, columns] into a dense layout.
void pack_floats(const Stream& stream, const float* values, int begin, int count, StripPlace place, const Segment& to);

}  // namespace narae::kernels::cuda
