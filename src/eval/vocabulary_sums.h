// Sums over one row of logits [vocab], which evaluation takes for every token that counts. Vector code, one version for each
// instruction set, chosen at run time; all versions give the same bits (sixteen lanes, no fused operations). Exponentials are
// float32 to about 1 ulp, summed in float32 over 256 elements and in double beyond. Everything may run concurrently.
// InternalError: logits that are not finite (damaged weights).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace narae::eval {

struct RowSums {
    float max = 0.0f, min = 0.0f;
    std::int32_t most_likely = 0;  // the lowest id that has the maximum
    double log_sum = 0.0;          // ln sum exp(x - max)
    double log_sum_exp() const { return static_cast<double>(max) + log_sum; }
};
RowSums sum_row(std::span<const float> logits);

// KL divergence of q from p, sum p (ln p - ln q), both given as logits: exact, over the whole vocabulary.
double kl_divergence(std::span<const float> p, const RowSums& p_sums, std::span<const float> q, const RowSums& q_sums);

// The same when p is given by 16-bit codes, ln p = scale * code + least; ids with ln p <= -16 are left out, as llama.cpp does.
double kl_divergence_of_codes(std::span<const std::uint16_t> codes, float scale, float least, std::span<const float> q,
                              const RowSums& q_sums);

// What the instruction sets implement; for tests, which hold all of this machine's against each other.
struct VocabularyKernels {
    std::string_view name;
    void (*extent)(const float* logits, std::size_t count, float* max, float* min, bool* finite);
    double (*sum_exp)(const float* logits, std::size_t count, float max);
    // sum exp(p - p_max) * (p - q)
    double (*weighted_difference)(const float* p, const float* q, std::size_t count, float p_max);
    double (*codes_divergence)(const std::uint16_t* codes, std::size_t count, float scale, float least, const float* q,
                               float q_log_sum_exp);
};
std::span<const VocabularyKernels* const> vocabulary_kernels();  // that run here, best last

extern const VocabularyKernels kVocabularyKernelsGeneric, kVocabularyKernelsAvx2, kVocabularyKernelsAvx512;

}  // namespace narae::eval
