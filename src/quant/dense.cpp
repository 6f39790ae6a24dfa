#include "quant/dense.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>

// The inner loops are compiled for several processors, and the program chooses when it starts.
#define NARAE_VECTORIZED __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))

namespace narae {
namespace {

constexpr std::int64_t kTile = 64;         // columns of a tile of the Gram matrix
constexpr std::int64_t kRowsAtOnce = 256;  // rows that are summed in float32 before they join the float64 sum
constexpr std::int64_t kBlock = 64;        // of the factorization
constexpr std::int64_t kColumns = 256;     // of a panel that one thread inverts

// sum[i, j] += x[r, first + i] * x[r, second + j] for tiles of kTile columns, rows in order.
NARAE_VECTORIZED void add_tile(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t first, std::int64_t second,
                               double* sum, std::int64_t sum_stride) {
    constexpr int kAtOnce = 4;
    for (std::int64_t i = 0; i < kTile; i += kAtOnce) {
        float part[kAtOnce][kTile] = {};
        for (std::int64_t r = 0; r < rows; ++r) {
            const float* left = x + r * stride + first + i;
            const float* right = x + r * stride + second;
            for (int a = 0; a < kAtOnce; ++a) {
                const float factor = left[a];
                for (int j = 0; j < kTile; ++j) part[a][j] += factor * right[j];
            }
        }
        for (int a = 0; a < kAtOnce; ++a)
            for (int j = 0; j < kTile; ++j) sum[(i + a) * sum_stride + j] += static_cast<double>(part[a][j]);
    }
}

NARAE_VECTORIZED void subtract_rows(const double* factors, std::int64_t count, const double* rows, std::int64_t stride,
                                    std::int64_t columns, double* to) {
    constexpr std::int64_t kAtOnce = 32;
    std::int64_t j = 0;
    for (; j + kAtOnce <= columns; j += kAtOnce) {
        double part[kAtOnce];
        for (int c = 0; c < kAtOnce; ++c) part[c] = to[j + c];
        for (std::int64_t k = 0; k < count; ++k)
            for (int c = 0; c < kAtOnce; ++c) part[c] -= factors[k] * rows[k * stride + j + c];
        for (int c = 0; c < kAtOnce; ++c) to[j + c] = part[c];
    }
    for (; j < columns; ++j)
        for (std::int64_t k = 0; k < count; ++k) to[j] -= factors[k] * rows[k * stride + j];
}

constexpr int kRowsTogether = 8;
using Eight = double __attribute__((vector_size(kRowsTogether * sizeof(double)), aligned(alignof(double)), may_alias));

// totals[r] = d H d^T for kRowsTogether rows d at once, so that H is read once for all of them; d [n, kRowsTogether].
NARAE_VECTORIZED void weighted_squares(const double* d, const double* matrix, std::int64_t n, double* totals) {
    const auto* rows = reinterpret_cast<const Eight*>(d);
    Eight total = {};
    for (std::int64_t i = 0; i < n; ++i) {
        const double* factors = matrix + i * n;
        Eight even = {}, odd = {};
        std::int64_t j = 0;
        for (; j + 2 <= n; j += 2) {
            even += factors[j] * rows[j];
            odd += factors[j + 1] * rows[j + 1];
        }
        if (j < n) even += factors[j] * rows[j];
        total += rows[i] * (even + odd);
    }
    for (int r = 0; r < kRowsTogether; ++r) totals[r] = total[r];
}

}  // namespace

Gram::Gram(std::int64_t columns) : columns_(columns) {
    const std::int64_t padded = (columns + kTile - 1) / kTile * kTile;
    sum_.resize(static_cast<std::size_t>(padded * padded));
}

void Gram::add(std::span<const float> rows, ThreadPool& threads) {
    const auto count = static_cast<std::int64_t>(rows.size()) / columns_;
    NARAE_CHECK(count * columns_ == static_cast<std::int64_t>(rows.size()), "{} numbers in rows of {}", rows.size(), columns_);
    const std::int64_t tiles = (columns_ + kTile - 1) / kTile, padded = tiles * kTile;
    std::vector<float> filled;
    for (std::int64_t begin = 0; begin < count; begin += kRowsAtOnce) {
        const std::int64_t some = std::min(kRowsAtOnce, count - begin);
        const float* x = rows.data() + begin * columns_;
        if (padded != columns_) {
            filled.assign(static_cast<std::size_t>(some * padded), 0.0f);
            for (std::int64_t r = 0; r < some; ++r) std::copy_n(x + r * columns_, columns_, filled.data() + r * padded);
            x = filled.data();
        }
        threads.parallel_for(tiles * tiles, 1, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t tile = first; tile < last; ++tile) {
                const std::int64_t i = tile / tiles, j = tile % tiles;
                if (i <= j) add_tile(x, some, padded, i * kTile, j * kTile, sum_.data() + (i * padded + j) * kTile, padded);
            }
        });
    }
    rows_ += count;
}

std::vector<double> Gram::take(ThreadPool& threads) {
    const std::int64_t padded = (columns_ + kTile - 1) / kTile * kTile;
    std::vector<double> whole = std::move(sum_);
    threads.parallel_for(columns_, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            for (std::int64_t j = 0; j < i; ++j)
                whole[static_cast<std::size_t>(i * padded + j)] = whole[static_cast<std::size_t>(j * padded + i)];
    });
    if (padded != columns_) {
        for (std::int64_t i = 1; i < columns_; ++i)
            std::copy_n(whole.data() + i * padded, columns_, whole.data() + i * columns_);
        whole.resize(static_cast<std::size_t>(columns_ * columns_));
    }
    return whole;
}

// With H = M M^T and M upper triangular, U = M^-1. In reverse order of rows and columns that is the usual H' = L L^T, and U is
// L^-1 in reverse.
bool inverse_cholesky(std::span<double> matrix, std::int64_t n, ThreadPool& threads) {
    NARAE_CHECK(static_cast<std::int64_t>(matrix.size()) == n * n, "{} numbers for [{}, {}]", matrix.size(), n, n);
    std::vector<double> lower(static_cast<std::size_t>(n * n));
    const auto l = [&](std::int64_t i, std::int64_t j) -> double& { return lower[static_cast<std::size_t>(i * n + j)]; };
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j <= i; ++j) l(i, j) = matrix[static_cast<std::size_t>((n - 1 - j) * n + (n - 1 - i))];

    std::vector<double> turned(static_cast<std::size_t>(kBlock * n));  // a block's columns, as rows
    for (std::int64_t k = 0; k < n; k += kBlock) {
        const std::int64_t end = std::min(n, k + kBlock), width = end - k;
        for (std::int64_t j = k; j < end; ++j) {
            double pivot = l(j, j);
            for (std::int64_t p = k; p < j; ++p) pivot -= l(j, p) * l(j, p);
            if (!(pivot > 0.0) || !std::isfinite(pivot)) return false;
            l(j, j) = std::sqrt(pivot);
            for (std::int64_t i = j + 1; i < end; ++i) {
                double value = l(i, j);
                for (std::int64_t p = k; p < j; ++p) value -= l(i, p) * l(j, p);
                l(i, j) = value / l(j, j);
            }
        }
        threads.parallel_for(n - end, 8, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t i = end + first; i < end + last; ++i)
                for (std::int64_t j = k; j < end; ++j) {
                    double value = l(i, j);
                    for (std::int64_t p = k; p < j; ++p) value -= l(i, p) * l(j, p);
                    l(i, j) = value / l(j, j);
                }
        });
        for (std::int64_t p = 0; p < width; ++p)
            for (std::int64_t i = end; i < n; ++i) turned[static_cast<std::size_t>(p * n + i)] = l(i, k + p);
        threads.parallel_for(n - end, 4, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t i = end + first; i < end + last; ++i)
                subtract_rows(&l(i, k), width, turned.data() + end, n, i + 1 - end, &l(i, end));
        });
    }

    // L^-1, a panel of columns at a time: row i of it is (e_i - sum over k < i of L[i, k] row k) / L[i, i].
    std::fill(matrix.begin(), matrix.end(), 0.0);
    const std::int64_t panels = (n + kColumns - 1) / kColumns;
    threads.parallel_for(panels, 1, [&](std::int64_t first, std::int64_t last) {
        std::vector<double> panel(static_cast<std::size_t>(n * kColumns));
        for (std::int64_t p = first; p < last; ++p) {
            const std::int64_t begin = p * kColumns, width = std::min(kColumns, n - begin);
            std::fill(panel.begin(), panel.end(), 0.0);
            for (std::int64_t i = begin; i < n; ++i) {
                double* row = panel.data() + i * width;
                if (i < begin + width) row[i - begin] = 1.0;
                subtract_rows(&l(i, begin), i - begin, panel.data() + begin * width, width, width, row);
                const double inverse = 1.0 / l(i, i);
                for (std::int64_t c = 0; c < width; ++c) row[c] *= inverse;
                double* to = matrix.data() + (n - 1 - i) * n;
                for (std::int64_t c = 0; c < width; ++c) to[n - 1 - (begin + c)] = row[c];
            }
        }
    });
    return true;
}

void subtract_product(std::span<const double> factors, const double* rows, std::int64_t stride, std::span<double> to) {
    subtract_rows(factors.data(), static_cast<std::int64_t>(factors.size()), rows, stride, static_cast<std::int64_t>(to.size()),
                  to.data());
}

double output_square(std::span<const float> rows, std::int64_t n, std::span<const double> gram, ThreadPool& threads) {
    const std::int64_t count = static_cast<std::int64_t>(rows.size()) / n;
    NARAE_CHECK(count * n == static_cast<std::int64_t>(rows.size()) && static_cast<std::int64_t>(gram.size()) == n * n,
                "{} numbers in rows of {}, {} of the Gram matrix", rows.size(), n, gram.size());
    const std::int64_t batches = (count + kRowsTogether - 1) / kRowsTogether;
    std::vector<double> totals(static_cast<std::size_t>(batches * kRowsTogether));
    threads.parallel_for(batches, 1, [&](std::int64_t first, std::int64_t last) {
        std::vector<double> turned(static_cast<std::size_t>(n * kRowsTogether));
        for (std::int64_t batch = first; batch < last; ++batch) {
            std::ranges::fill(turned, 0.0);
            for (std::int64_t r = 0; r < std::min<std::int64_t>(kRowsTogether, count - batch * kRowsTogether); ++r)
                for (std::int64_t j = 0; j < n; ++j)
                    turned[static_cast<std::size_t>(j * kRowsTogether + r)] =
                        static_cast<double>(rows[static_cast<std::size_t>((batch * kRowsTogether + r) * n + j)]);
            weighted_squares(turned.data(), gram.data(), n, totals.data() + batch * kRowsTogether);
        }
    });
    double total = 0.0;
    for (const double of_row : totals) total += of_row;
    return total;
}

}  // namespace narae
