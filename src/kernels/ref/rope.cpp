#include "kernels/ref/rope.h"

#include <cmath>

namespace narae::kernels::ref {

void rope_row(std::int32_t position, std::span<const float> inv_freq, float scaling, float* table) {
    for (std::size_t i = 0; i < inv_freq.size(); ++i) {
        const float angle = static_cast<float>(position) * inv_freq[i];
        table[i] = static_cast<float>(std::cos(static_cast<double>(angle)) * static_cast<double>(scaling));
        table[inv_freq.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle)) * static_cast<double>(scaling));
    }
}

void rotate(float* head, const Rope& rope, const float* table) {
    const int half = rope.rotary_dim / 2;
    for (int i = 0; i < half; ++i) {
        float& first = head[rope.interleaved ? 2 * i : i];
        float& second = head[rope.interleaved ? 2 * i + 1 : i + half];
        const double a = first, b = second, cosine = table[i], sine = table[half + i];
        first = static_cast<float>(a * cosine - b * sine);
        second = static_cast<float>(b * cosine + a * sine);
    }
}

}  // namespace narae::kernels::ref
