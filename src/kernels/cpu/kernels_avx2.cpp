#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/table.h"

namespace narae::kernels::cpu {

const Kernels kAvx2Kernels = make_table<avx2::Isa>("avx2", "AVX2");

}  // namespace narae::kernels::cpu
