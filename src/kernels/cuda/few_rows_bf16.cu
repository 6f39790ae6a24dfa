#include "kernels/cuda/few_rows.cuh"

namespace narae::kernels::cuda {

template void launch_one_row<Layout::bf16>(const Stream&, const Activations16&, const Segment&, const Ending&, bool);
template void launch_few_rows<Layout::bf16>(const Stream&, const Activations16&, const Segment&, const Ending&, bool);

}  // namespace narae::kernels::cuda
