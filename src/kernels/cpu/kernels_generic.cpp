#include "kernels/cpu/simd_generic.h"
#include "kernels/cpu/table.h"

namespace narae::kernels::cpu {

const Kernels kGenericKernels = make_table<generic::Isa>("generic", "plain C++");

}  // namespace narae::kernels::cpu
