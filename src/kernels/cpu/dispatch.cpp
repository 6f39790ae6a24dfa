#include "base/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/instruction_sets.h"

#include <array>
#include <string_view>

namespace narae::kernels::cpu {
namespace {

struct Candidate {
    const Kernels* kernels;
    bool usable;
    const char* needs;
};

// Best first.
std::array<Candidate, 3> candidates() {
    const bool avx512 = best_instruction_set() >= InstructionSet::avx512, avx2 = best_instruction_set() >= InstructionSet::avx2;
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
