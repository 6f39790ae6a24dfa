#include "kernels/sampling_weights.h"

#include "kernels/sampling_weights_loops.h"

#include <array>

namespace narae::kernels {

const WeightKernels kWeightKernelsGeneric{find_extent, weigh_all};

std::span<const WeightKernels* const> weight_kernels() {
    static constexpr std::array<const WeightKernels*, 3> kAll = {&kWeightKernelsGeneric, &kWeightKernelsAvx2,
                                                                 &kWeightKernelsAvx512};
    static const std::size_t usable = [] {
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1u;
        for (const bool supported : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                                     __builtin_cpu_supports("avx512vl") != 0, __builtin_cpu_supports("avx512dq") != 0,
                                     __builtin_cpu_supports("avx512vnni") != 0})
            if (!supported) return 2u;
        return 3u;
    }();
    return std::span(kAll).first(usable);
}

}  // namespace narae::kernels
