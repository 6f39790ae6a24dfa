// The streaming products of each layout, compiled one file a layout (few_rows_*.cu from few_rows.cuh).
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"

namespace narae::kernels::cuda {

// Where a block's activations come from.
struct Activations16 {
    const void* x = nullptr;
    std::int64_t stride = 0;  // in elements of 16 bits (several rows)
    int rows = 1;
    bool bf16 = false;  // one row: its type, else float32
    const float* norm_weight = nullptr;
    bool normed = false;  // one row: by rms
    float eps = 0.0f;
};

// One row, staged in shared memory. `early`: let the next kernel start.
template <Layout kLayout>
void launch_one_row(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early);
// Up to 64 rows of 16-bit activations.
template <Layout kLayout>
void launch_few_rows(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early);

}  // namespace narae::kernels::cuda
