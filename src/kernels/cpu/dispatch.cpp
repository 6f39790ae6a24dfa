#include "base/error.h"
#include "kernels/cpu/cpu_backend.h"

#include <cpuid.h>

#include <array>
#include <string_view>

namespace narae::kernels::cpu {
namespace {

struct Candidate {
    const Kernels* kernels;
    bool usable;
    const char* needs;
};

// Not every compiler knows "f16c" as a name for __builtin_cpu_supports.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// Best first.
std::array<Candidate, 3> candidates() {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    return {{{&kAvx512Kernels, avx512, "AVX-512 F, BW, VL, DQ and VNNI"},
             {&kAvx2Kernels, avx2, "AVX2, FMA and F16C"},
             {&kGenericKernels, true, ""}}};
}

}  // namespace

std::vector<std::string> usable_kernels() {
    std::vector<std::string> names;
    for (const Candidate& candidate : candidates())
        if (candidate.usable) names.emplace_back(candidate.kernels->name);
    return names;
}

const Kernels& choose_kernels(const char* name) {
    const std::string_view wanted = name;
    std::string known;
    for (const Candidate& candidate : candidates()) {
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
