#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/table.h"

namespace narae::kernels::cpu {

const Kernels kAvx512Kernels = make_table<avx512::Isa>("avx512", "AVX-512 VNNI");

}  // namespace narae::kernels::cpu
