#include "kernels/sampling_weights_loops.h"

namespace narae::kernels {

const WeightKernels kWeightKernelsAvx2{find_extent, weigh_all};

}  // namespace narae::kernels
