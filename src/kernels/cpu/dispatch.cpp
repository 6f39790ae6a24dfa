#include "base/error.h"
#include "kernels/cpu/kernels.h"

#include <string_view>

namespace narae::kernels::cpu {
namespace {

struct Candidate {
    const Kernels* kernels;
    bool usable;
    const char* needs;
};

}  // namespace

const Kernels& choose_kernels(const char* name) {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const Candidate candidates[] = {
        {&kAvx512Kernels, avx512, "AVX-512 F, BW, VL, DQ and VNNI"},
        {&kAvx2Kernels, avx2, "AVX2, FMA and F16C"},
        {&kGenericKernels, true, ""},
    };
    const std::string_view wanted = name;
    std::string known;
    for (const Candidate& candidate : candidates) {
        if (wanted.empty() && candidate.usable) return *candidate.kernels;
        if (wanted == candidate.kernels->name) {
            if (candidate.usable) return *candidate.kernels;
            throw_error<ResourceError>("instruction set {}: this processor lacks it, need {}; try generic", wanted,
                                       candidate.needs);
        }
        known += fmt::format("{}{}", known.empty() ? "" : ", ", candidate.kernels->name);
    }
    throw_error<UsageError>("instruction set {}: unknown; need one of {}", wanted, known);
}

}  // namespace narae::kernels::cpu
