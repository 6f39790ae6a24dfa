// Rotary frequencies and their scalings. Sources: Su et al., RoFormer (2021); kaiokendev (linear); bloc97 (dynamic NTK);
// Peng et al., YaRN (2023); Ding et al., LongRoPE (2024); Llama 3.1's frequency-dependent scaling; the rounding and key
// conventions of transformers' modeling_rope_utils.py.
#include "model/config.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace narae {
namespace {

// theta^(-2i / dim), rounded where transformers rounds: exponent and power in float32.
std::vector<float> base_frequencies(double theta, int dim) {
    std::vector<float> inverse(static_cast<std::size_t>(dim / 2));
    for (int i = 0; i < dim / 2; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
        inverse[static_cast<std::size_t>(i)] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    }
    return inverse;
}

void scale_llama3(const RopeConfig& rope, std::int64_t original, std::vector<float>& inverse) {
    const double low_wavelength = static_cast<double>(original) / rope.low_freq_factor;
    const double high_wavelength = static_cast<double>(original) / rope.high_freq_factor;
    for (float& f : inverse) {
        const double wavelength = 2.0 * std::numbers::pi / f;
        if (wavelength > low_wavelength) {
            f = static_cast<float>(f / rope.factor);
        } else if (wavelength >= high_wavelength) {
            const double smooth = (static_cast<double>(original) / wavelength - rope.low_freq_factor) /
                                  (rope.high_freq_factor - rope.low_freq_factor);
            f = static_cast<float>((1.0 - smooth) * f / rope.factor + smooth * f);
        }
    }
}

double yarn_magnitude(double scale, double mscale) { return scale <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

RotaryFrequencies yarn(const RopeConfig& rope, int dim, std::int64_t original) {
    const auto dimension_of = [&](double rotations) {
        return dim * std::log(static_cast<double>(original) / (rotations * 2.0 * std::numbers::pi)) /
               (2.0 * std::log(rope.theta));
    };
    double low = dimension_of(rope.beta_fast), high = dimension_of(rope.beta_slow);
    if (rope.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(dim - 1));
    if (low == high) high += 0.001;

    RotaryFrequencies result;
    result.inverse.resize(static_cast<std::size_t>(dim / 2));
    for (int j = 0; j < dim / 2; ++j) {
        const double ramp = std::clamp((j - low) / (high - low), 0.0, 1.0);
        const double power = std::pow(rope.theta, 2.0 * j / dim);
        result.inverse[static_cast<std::size_t>(j)] = static_cast<float>(ramp / (rope.factor * power) + (1.0 - ramp) / power);
    }
    if (rope.attention_factor)
        result.scaling = static_cast<float>(*rope.attention_factor);
    else if (rope.mscale.value_or(0.0) != 0.0 && rope.mscale_all_dim.value_or(0.0) != 0.0)
        result.scaling =
            static_cast<float>(yarn_magnitude(rope.factor, *rope.mscale) / yarn_magnitude(rope.factor, *rope.mscale_all_dim));
    else
        result.scaling = static_cast<float>(yarn_magnitude(rope.factor, 1.0));
    return result;
}

RotaryFrequencies longrope(const RopeConfig& rope, int dim, std::int64_t original, std::int64_t context) {
    const std::vector<double>& stretch = context > original ? rope.long_factor : rope.short_factor;
    RotaryFrequencies result;
    result.inverse.resize(static_cast<std::size_t>(dim / 2));
    for (int i = 0; i < dim / 2; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
        const float power = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
        result.inverse[static_cast<std::size_t>(i)] = 1.0f / (static_cast<float>(stretch[static_cast<std::size_t>(i)]) * power);
    }
    if (rope.attention_factor) {
        result.scaling = static_cast<float>(*rope.attention_factor);
    } else {
        result.scaling =
            rope.factor <= 1.0
                ? 1.0f
                : static_cast<float>(std::sqrt(1.0 + std::log(rope.factor) / std::log(static_cast<double>(original))));
    }
    return result;
}

}  // namespace

RotaryFrequencies rotary_frequencies(const RopeConfig& rope, int dim, std::int64_t max_positions, std::int64_t context) {
    const std::int64_t original = rope.original_max_positions > 0 ? rope.original_max_positions : max_positions;
    if (rope.type == "yarn") return yarn(rope, dim, original);
    if (rope.type == "longrope") {
        const auto need = static_cast<std::size_t>(dim / 2);
        if (rope.short_factor.size() != need || rope.long_factor.size() != need)
            throw_error<BadFileError>("longrope: found {} short and {} long factors, need {} of each", rope.short_factor.size(),
                                      rope.long_factor.size(), need);
        return longrope(rope, dim, original, context);
    }
    if (rope.type == "dynamic") {
        const double length = static_cast<double>(std::max(context, max_positions));
        const double grown = rope.factor * length / static_cast<double>(max_positions) - (rope.factor - 1.0);
        return {base_frequencies(rope.theta * std::pow(grown, static_cast<double>(dim) / (dim - 2)), dim), 1.0f};
    }
    RotaryFrequencies result{base_frequencies(rope.theta, dim), 1.0f};
    if (rope.type == "linear") {
        for (float& f : result.inverse) f = static_cast<float>(f / rope.factor);
    } else if (rope.type == "llama3") {
        scale_llama3(rope, original, result.inverse);
    } else if (rope.type == "factors") {
        if (rope.long_factor.size() != result.inverse.size())
            throw_error<BadFileError>("rope_freqs.weight: found {} factors, need {}", rope.long_factor.size(),
                                      result.inverse.size());
        for (std::size_t i = 0; i < result.inverse.size(); ++i)
            result.inverse[i] = static_cast<float>(result.inverse[i] / rope.long_factor[i]);
    } else if (rope.type != "default") {
        throw_error<BadFileError>("rope scaling type {} is not known; known: default, linear, dynamic, llama3, yarn, longrope",
                                  rope.type);
    }
    return result;
}

}  // namespace narae
