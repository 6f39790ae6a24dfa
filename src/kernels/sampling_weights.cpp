#include "kernels/sampling_weights.h"

#include "kernels/instruction_sets.h"
#include "kernels/sampling_weights_loops.h"

#include <array>

namespace narae::kernels {

const WeightKernels kWeightKernelsGeneric{find_extent, weigh_all};

std::span<const WeightKernels* const> weight_kernels() {
    static constexpr std::array<const WeightKernels*, 3> kAll = {&kWeightKernelsGeneric, &kWeightKernelsAvx2,
                                                                 &kWeightKernelsAvx512};
    return std::span(kAll).first(static_cast<std::size_t>(best_instruction_set()) + 1);
}

}  // namespace narae::kernels
