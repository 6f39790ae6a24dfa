// The two loops of sampling that see every token of the vocabulary, for each instruction set the processor may have. All
// give the same bits: each lane does the operations of power_of_two, and integer sums have no order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace narae::kernels {

struct LogitExtent {
    float max;    // of those that are not NaN; -infinity when there are none
    bool finite;  // no NaN and no +infinity
};

// y = (logit - max) * factor is the exponent of a token's weight, 2^y; <= 0.
struct WeightScale {
    float max, factor;
    float exponent(float logit) const { return (logit - max) * factor; }
};

// The weight is 2^y as a 40-bit fixed-point number: 2^n * p(f), n the integer nearest to y (ties to even), f = y - n exactly,
// p a polynomial of degree 6 with p(0) = 1 in Horner's order, then truncation. p * 2^24 is an integer of 24 or 25 bits, so
// that its product with 2^(16 + n) is a shift. The coefficients are our own fit of the least largest relative error over
// [-1/2, 1/2]; with the f32 rounding the error is below 1.7 * 2^-24. y below -64 counts as -64; the weight is then 0, as it
// is from about y = -41.
struct WeightKernels {
    LogitExtent (*extent)(const float* logits, std::size_t count);
    // Writes the weights of `count` tokens and returns their sum.
    std::uint64_t (*weigh)(WeightScale scale, const float* logits, std::size_t count, std::uint64_t* weights);
};

extern const WeightKernels kWeightKernelsGeneric, kWeightKernelsAvx2, kWeightKernelsAvx512;
std::span<const WeightKernels* const> weight_kernels();  // those that the processor can run, fastest last

}  // namespace narae::kernels
