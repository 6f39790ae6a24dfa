// AWQ (Lin et al. 2023, arXiv:2306.00978): input channels that matter are made larger before rounding, and what comes before
// the linear is made smaller by the same factors, so that the product stays and its error falls where inputs are large. Then
// the range of each group is cut where that lowers the error. In float16 where AutoAWQ is (awq/quantize/quantizer.py, 0.2.9),
// so that its losses are met.
#pragma once

#include "base/function_ref.h"
#include "base/threads.h"
#include "formats/int_groups.h"

#include <cstdint>
#include <span>
#include <vector>

namespace narae {

inline constexpr int kAwqGrid = 20;  // ratios 0, 1/20 ... 19/20

// Of each channel: the mean over all rows of |w| / (max |w| of its group + 1e-6). weights: [out, in] each, float16 values.
std::vector<float> awq_weight_means(std::span<const std::span<const float>> weights, std::int64_t in, std::int64_t group);

// x_mean^ratio / (w_mean^(1 - ratio) + 1e-4), at least 1e-4, over the root of the largest times the smallest.
std::vector<float> awq_scales(std::span<const float> x_means, std::span<const float> w_means, double ratio);

// Q(W s) / s of [out, in] float16 values.
std::vector<float> awq_rounded(std::span<const float> values, std::int64_t in, std::span<const float> scales,
                               const IntRounding& rounding, std::int64_t group, ThreadPool& threads);

struct AwqSearch {
    std::vector<float> scales;
    double ratio = 0.0, loss = 0.0;
    std::vector<double> losses;  // [kAwqGrid]
};
// `loss`: of the weights that share the inputs, scaled, rounded and scaled back by these scales.
AwqSearch awq_search(std::span<const float> x_means, std::span<const float> w_means,
                     FunctionRef<double(std::span<const float> scales)> loss);

// Clamps every group of every row at the magnitude, of 10 from its largest to 0.55 of it, whose rounding changes the group's
// part of the outputs least; gram [in, in]: of the inputs.
void awq_clip(std::span<float> values, std::int64_t in, std::span<const double> gram, const IntRounding& rounding,
              std::int64_t group, ThreadPool& threads);

}  // namespace narae
