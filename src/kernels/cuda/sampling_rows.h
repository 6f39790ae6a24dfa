// What the host stages of the rows to sample, what the kernels hand on between them, and where it lies. For sampler.cpp and
// sampler.cu.
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/sampling.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace narae::kernels::cuda {

using Word = unsigned long long;  // the 64-bit type that atomics take
__extension__ typedef unsigned __int128 Uint128;

constexpr Word kOneWeight = Word{1} << 40;  // of the largest logit
constexpr int kBins = 656;                  // of a sixteenth in the exponent y; a weight that is not 0 lies in the first 649
constexpr int kMostChunks = 128;            // of a row
constexpr int kListed = 4096;  // tokens that the list of a row holds; with more of them, all tokens are looked at instead
constexpr int kTile = 2048;    // tokens that a block takes at once; chunks are multiples of it

// A float in (0, 1) as significand * 2^-shift; significand 0: off.
struct Share {
    std::uint32_t significand = 0;
    int shift = 0;
    __host__ __device__ bool on() const { return significand != 0; }
};

inline Share make_share(float share) {
    int exponent = 0;
    const float fraction = std::frexp(share, &exponent);
    return {static_cast<std::uint32_t>(std::ldexp(fraction, 24)), 24 - exponent};
}

// value * share, rounded up.
__host__ __device__ inline Word share_of(Word value, Share share) {
    const Uint128 product = Uint128{value} * share.significand;
    if (share.shift >= 127) return product == 0 ? 0 : 1;
    return static_cast<Word>((product + ((Uint128{1} << share.shift) - 1)) >> share.shift);
}

// ---- staged -------------------------------------------------------------------------------------------------------------

// A token whose logit a row changes. output_count is how often the output holds it, -1 if neither prompt nor output does.
struct Touched {
    std::int32_t id, output_count, first_bias;
};

// One entry of logit_bias; `next` is the next one for the same token, -1: none.
struct Bias {
    float value;
    std::int32_t next;
};

struct StagedRow {
    const std::byte* lists = nullptr;  // on the card; what the offsets count from
    Word least = 1;                    // the weight that min-p asks for
    Word random = 0;
    std::uint32_t touched_at = 0, touched = 0, biases_at = 0, allowed_at = 0;
    Share top_p, typical_p;
    float factor = 0.0f;
    float repetition_penalty = 1.0f, frequency_penalty = 0.0f, presence_penalty = 0.0f;
    std::uint32_t top_k = 0;
    std::int32_t slot = -1;  // -1: another row writes it
    bool greedy = false, masked = false;

    __host__ __device__ bool changes() const { return masked || touched > 0; }
    __host__ __device__ bool cuts() const { return top_k > 0 || top_p.on(); }
    template <class T>
    __device__ const T* list(std::uint32_t offset) const {
        return reinterpret_cast<const T*>(lists + offset);
    }
};

// ---- handed on ------------------------------------------------------------------------------------------------------------

// By bins of exponent, which no two tokens of equal logits straddle.
struct Cut {
    int sure = kBins;      // tokens of bins below it are kept
    int last = kBins - 1;  // tokens of bins above it are dropped; from `sure` to it they are listed
    bool top_k = false;    // whether top-k drops any
    Word sure_count = 0, sure_weight = 0;
    Word total = 0;  // the weight of all that min-p leaves
};

struct RowState {
    // Zero between launches.
    Word best;  // the complement of the smallest place_key; all ones: a logit is not finite
    unsigned arrived[3];
    unsigned listed;
    Word bin_weights[kBins];
    unsigned bin_counts[kBins];
    // From one kernel to the next.
    bool undecided;
    float max;
    Cut cut;
};

// The arrays on the card, by row.
struct SamplingArrays {
    const StagedRow* staged = nullptr;
    RowState* states = nullptr;
    Word* lists = nullptr;          // [rows, kListed] place_keys
    Word* chunk_weights = nullptr;  // [rows, kMostChunks]
    float* changed = nullptr;       // [rows, vocab]
    Sampled* results = nullptr;
    std::int32_t* slots = nullptr;
};

// Chooses for rows of logits [rows, vocab]: three kernels. A block takes `chunk` tokens of a row.
void launch_sampling(const Stream& stream, const SamplingArrays& arrays, const float* logits, int rows, int vocab, int chunk);

}  // namespace narae::kernels::cuda
