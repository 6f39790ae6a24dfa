#include "eval/vocabulary_sums_loops.h"

namespace narae::eval {

const VocabularyKernels kVocabularyKernelsAvx2{"avx2", extent, sum_exp, weighted_difference, codes_divergence};

}  // namespace narae::eval
