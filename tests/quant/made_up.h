// Weights and inputs made of a formula, the same as in tools/oracle/gptq.py, so that goldens hold only what was chosen.
#pragma once

#include <cstdint>
#include <vector>

namespace narae::test {

// Uniform in [-1, 1) with 24 bits, by splitmix64.
inline std::vector<float> numbers(std::uint64_t seed, std::int64_t count) {
    std::vector<float> all;
    for (std::int64_t i = 1; i <= count; ++i) {
        std::uint64_t z = (seed + static_cast<std::uint64_t>(i)) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        all.push_back(static_cast<float>(z >> 40) / 8388608.0f - 1.0f);
    }
    return all;
}

// Neighbours are correlated, every fifth column is eight times as large, column `dead` is zero.
inline std::vector<float> inputs(std::uint64_t seed, std::int64_t rows, std::int64_t columns, std::int64_t dead) {
    std::vector<float> x = numbers(seed, rows * columns);
    for (std::int64_t r = 0; r < rows; ++r) {
        float* row = x.data() + r * columns;
        for (std::int64_t c = 1; c < columns; ++c) {
            const float half = row[c - 1] * 0.5f;
            row[c] += half;
        }
        for (std::int64_t c = 0; c < columns; c += 5) row[c] *= 8.0f;
        if (dead >= 0) row[dead] = 0.0f;
    }
    return x;
}

// The sum of outer products of the rows, in float64.
inline std::vector<double> exact_gram(const std::vector<float>& x, std::int64_t columns) {
    std::vector<double> gram(static_cast<std::size_t>(columns * columns));
    const std::int64_t rows = static_cast<std::int64_t>(x.size()) / columns;
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t i = 0; i < columns; ++i)
            for (std::int64_t j = 0; j < columns; ++j)
                gram[static_cast<std::size_t>(i * columns + j)] +=
                    static_cast<double>(x[static_cast<std::size_t>(r * columns + i)]) *
                    static_cast<double>(x[static_cast<std::size_t>(r * columns + j)]);
    return gram;
}

}  // namespace narae::test
