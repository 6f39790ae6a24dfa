#include "kernels/instruction_sets.h"

#include <cpuid.h>

namespace narae::kernels {
namespace {

// Not every compiler knows "f16c" as a name for __builtin_cpu_supports.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

InstructionSet detect() {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return InstructionSet::generic;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    return avx512 ? InstructionSet::avx512 : InstructionSet::avx2;
}

}  // namespace

InstructionSet best_instruction_set() {
    static const InstructionSet best = detect();
    return best;
}

}  // namespace narae::kernels
