#include "eval/vocabulary_sums.h"

#include "base/error.h"
#include "eval/vocabulary_sums_loops.h"
#include "kernels/instruction_sets.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace narae::eval {
namespace {

const VocabularyKernels& best() {
    static const VocabularyKernels& kernels = *vocabulary_kernels().back();
    return kernels;
}

}  // namespace

const VocabularyKernels kVocabularyKernelsGeneric{"generic", extent, sum_exp, weighted_difference, codes_divergence};

std::span<const VocabularyKernels* const> vocabulary_kernels() {
    static constexpr std::array<const VocabularyKernels*, 3> kAll = {&kVocabularyKernelsGeneric, &kVocabularyKernelsAvx2,
                                                                     &kVocabularyKernelsAvx512};
    return std::span(kAll).first(static_cast<std::size_t>(kernels::best_instruction_set()) + 1);
}

RowSums sum_row(std::span<const float> logits) {
    NARAE_CHECK(!logits.empty(), "a row of no logits");
    RowSums sums;
    bool finite = false;
    best().extent(logits.data(), logits.size(), &sums.max, &sums.min, &finite);
    if (!finite) throw_error<InternalError>("the model's logits are not finite numbers; the weights may be damaged");
    sums.most_likely = static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), sums.max) - logits.begin());
    sums.log_sum = std::log(best().sum_exp(logits.data(), logits.size(), sums.max));
    return sums;
}

double kl_divergence(std::span<const float> p, const RowSums& p_sums, std::span<const float> q, const RowSums& q_sums) {
    NARAE_CHECK(p.size() == q.size(), "{} and {} logits", p.size(), q.size());
    // sum p (p_i - q_i) - (ln sum exp p_i - ln sum exp q_i)
    const double difference = best().weighted_difference(p.data(), q.data(), p.size(), p_sums.max);
    return difference / std::exp(p_sums.log_sum) - (p_sums.log_sum_exp() - q_sums.log_sum_exp());
}

double kl_divergence_of_codes(std::span<const std::uint16_t> codes, float scale, float least, std::span<const float> q,
                              const RowSums& q_sums) {
    NARAE_CHECK(codes.size() == q.size(), "{} codes and {} logits", codes.size(), q.size());
    return best().codes_divergence(codes.data(), codes.size(), scale, least, q.data(),
                                   static_cast<float>(q_sums.log_sum_exp()));
}

}  // namespace narae::eval
