// Dense linear algebra of calibration: sums of outer products, and what GPTQ wants of their inverse. Row-major, float64 where
// errors would pile up.
#pragma once

#include "base/threads.h"

#include <cstdint>
#include <span>
#include <vector>

namespace narae {

// The sum of x x^T over rows x of calibration inputs: GPTQ's Hessian up to a factor, which cancels there.
class Gram {
public:
    explicit Gram(std::int64_t columns);
    // rows [count, columns]
    void add(std::span<const float> rows, ThreadPool& threads);
    std::int64_t columns() const { return columns_; }
    std::int64_t rows() const { return rows_; }
    // [columns, columns], both triangles.
    std::vector<double> take(ThreadPool& threads);

private:
    std::int64_t columns_, rows_ = 0;
    std::vector<double> sum_;  // the upper triangle, in whole tiles
};

// In place: `matrix` [n, n], symmetric (the lower triangle is read), becomes the upper triangular U with U^T U = matrix^-1 and
// a positive diagonal; zeros below. False when the matrix is not positive definite; then it holds nothing useful.
bool inverse_cholesky(std::span<double> matrix, std::int64_t n, ThreadPool& threads);

// to[j] -= sum over k of factors[k] * rows[k, j], k in order; rows lie `stride` apart.
void subtract_product(std::span<const double> factors, const double* rows, std::int64_t stride, std::span<double> to);

// The sum over rows d [count, n] of d gram d^T: what the outputs of a product change by, squared, when its weight changes by d.
double output_square(std::span<const float> rows, std::int64_t n, std::span<const double> gram, ThreadPool& threads);

}  // namespace narae
