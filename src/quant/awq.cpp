#include "quant/awq.h"

#include "base/error.h"
#include "formats/scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narae {
namespace {

float half(float value) { return rounded_to(DType::f16, value); }

// A group after rounding, as float16 values.
void round_group(const IntRounding& rounding, std::span<const float> values, float* to) {
    const GroupParameters p = find_parameters(rounding, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const float code = static_cast<float>(code_of(rounding, p, values[i]));
        to[i] = half((code - p.zero) * p.scale);
    }
}

}  // namespace

std::vector<float> awq_weight_means(std::span<const std::span<const float>> weights, std::int64_t in, std::int64_t group) {
    std::vector<double> sums(static_cast<std::size_t>(in));
    std::int64_t rows = 0;
    for (const std::span<const float> weight : weights) {
        const auto out = static_cast<std::int64_t>(weight.size()) / in;
        rows += out;
        for (std::int64_t row = 0; row < out; ++row)
            for (std::int64_t begin = 0; begin < in; begin += group) {
                const std::int64_t end = std::min(in, begin + group);
                float largest = 0.0f;
                for (std::int64_t j = begin; j < end; ++j)
                    largest = std::fmax(largest, std::fabs(weight[static_cast<std::size_t>(row * in + j)]));
                const float divisor = half(largest + 1e-6f);
                for (std::int64_t j = begin; j < end; ++j)
                    sums[static_cast<std::size_t>(j)] +=
                        static_cast<double>(half(std::fabs(weight[static_cast<std::size_t>(row * in + j)]) / divisor));
            }
    }
    std::vector<float> means;
    for (const double sum : sums) means.push_back(half(static_cast<float>(sum / static_cast<double>(rows))));
    return means;
}

std::vector<float> awq_scales(std::span<const float> x_means, std::span<const float> w_means, double ratio) {
    NARAE_CHECK(x_means.size() == w_means.size(), "{} and {} channels", x_means.size(), w_means.size());
    std::vector<float> scales;
    // torch rounds the exponent to the base's type, too.
    const auto power = [](float base, double exponent) { return half(std::pow(base, half(static_cast<float>(exponent)))); };
    for (std::size_t i = 0; i < x_means.size(); ++i) {
        const float below = half(power(w_means[i], 1.0 - ratio) + 1e-4f);
        scales.push_back(std::fmax(half(power(x_means[i], ratio) / below), half(1e-4f)));
    }
    const auto [smallest, largest] = std::ranges::minmax(scales);
    const float middle = half(std::sqrt(half(largest * smallest)));
    for (float& scale : scales) {
        scale = half(scale / middle);
        if (!std::isfinite(scale)) scale = 1.0f;
    }
    return scales;
}

std::vector<float> awq_rounded(std::span<const float> values, std::int64_t in, std::span<const float> scales,
                               const IntRounding& rounding, std::int64_t group, ThreadPool& threads) {
    const auto out = static_cast<std::int64_t>(values.size()) / in;
    std::vector<float> result(values.size());
    threads.parallel_for(out, 4, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> scaled(static_cast<std::size_t>(in));
        for (std::int64_t row = begin; row < end; ++row) {
            float* to = result.data() + row * in;
            for (std::size_t j = 0; j < scaled.size(); ++j)
                scaled[j] = half(values[static_cast<std::size_t>(row * in) + j] * scales[j]);
            for (std::int64_t g = 0; g < in; g += group)
                round_group(rounding, std::span(scaled).subspan(static_cast<std::size_t>(g), static_cast<std::size_t>(group)),
                            to + g);
            for (std::size_t j = 0; j < scaled.size(); ++j) to[j] = half(to[j] / scales[j]);
        }
    });
    return result;
}

AwqSearch awq_search(std::span<const float> x_means, std::span<const float> w_means,
                     FunctionRef<double(std::span<const float> scales)> loss) {
    AwqSearch best;
    best.loss = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kAwqGrid; ++i) {
        const double ratio = static_cast<double>(i) / kAwqGrid;
        std::vector<float> scales = awq_scales(x_means, w_means, ratio);
        const double found = loss(scales);
        best.losses.push_back(found);
        if (found < best.loss) {
            best.loss = found;
            best.ratio = ratio;
            best.scales = std::move(scales);
        }
    }
    if (best.scales.empty()) throw_error<BadFileError>("no scales of AWQ's grid give finite outputs");
    return best;
}

void awq_clip(std::span<float> values, std::int64_t in, std::span<const double> gram, const IntRounding& rounding,
              std::int64_t group, ThreadPool& threads) {
    constexpr int kSteps = 10;
    const auto out = static_cast<std::int64_t>(values.size()) / in;
    threads.parallel_for(out, 1, [&](std::int64_t first, std::int64_t last) {
        std::vector<float> clamped(static_cast<std::size_t>(group)), rounded(clamped.size());
        std::vector<double> difference(clamped.size());
        for (std::int64_t row = first; row < last; ++row)
            for (std::int64_t begin = 0; begin < in; begin += group) {
                const std::span<float> of_group =
                    values.subspan(static_cast<std::size_t>(row * in + begin), static_cast<std::size_t>(group));
                float largest = 0.0f;
                for (const float value : of_group) largest = std::fmax(largest, std::fabs(value));
                float best = largest;
                double least = std::numeric_limits<double>::infinity();
                for (int step = 0; step < kSteps; ++step) {
                    const float limit = half(largest * (1.0f - static_cast<float>(step) / kAwqGrid));
                    for (std::size_t j = 0; j < clamped.size(); ++j) clamped[j] = std::clamp(of_group[j], -limit, limit);
                    round_group(rounding, clamped, rounded.data());
                    for (std::size_t j = 0; j < clamped.size(); ++j)
                        difference[j] = static_cast<double>(rounded[j]) - static_cast<double>(of_group[j]);
                    double error = 0.0;
                    for (std::int64_t i = 0; i < group; ++i) {
                        double sum = 0.0;
                        const double* row_of_gram = gram.data() + (begin + i) * in + begin;
                        for (std::int64_t j = 0; j < group; ++j)
                            sum += row_of_gram[j] * difference[static_cast<std::size_t>(j)];
                        error += difference[static_cast<std::size_t>(i)] * sum;
                    }
                    if (error < least) {
                        least = error;
                        best = limit;
                    }
                }
                for (float& value : of_group) value = std::clamp(value, -best, best);
            }
    });
}

}  // namespace narae
