#include "eval/vocabulary_sums_loops.h"

namespace narae::eval {

const VocabularyKernels kVocabularyKernelsAvx512{"avx512", extent, sum_exp, weighted_difference, codes_divergence};

}  // namespace narae::eval
