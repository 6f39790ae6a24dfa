#include "kernels/sampling.h"

#include "base/error.h"
#include "kernels/sampling_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace narae::kernels {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr std::size_t kChunk = 256;  // tokens whose weights are summed before the draw looks for its chunk

// Kept between calls: a thread that samples allocates only for its first row and its largest vocabulary.
struct Scratch {
    std::vector<float> logits;
    std::vector<std::uint8_t> seen;
    std::vector<std::int32_t> counts;  // all zero between calls
    std::vector<std::uint64_t> chunk_weights;
};

Scratch& scratch() {
    thread_local Scratch buffers;
    return buffers;
}

const WeightKernels& best_kernels() { return *weight_kernels().back(); }

constexpr std::uint64_t kOne = std::uint64_t{1} << 40;  // the weight of the largest logit

// Calls visit(begin, weights, their sum) for every chunk of tokens in order of ids.
template <class Visit>
void for_each_chunk(std::span<const float> logits, WeightScale scale, Visit visit) {
    const auto weigh = best_kernels().weigh;
    std::array<std::uint64_t, kChunk> weights;
    for (std::size_t begin = 0; begin < logits.size(); begin += kChunk) {
        const std::size_t count = std::min(kChunk, logits.size() - begin);
        const std::uint64_t sum = weigh(scale, &logits[begin], count, weights.data());
        visit(begin, std::span<const std::uint64_t>(weights.data(), count), sum);
    }
}

// ---- the row ----------------------------------------------------------------------------------------------------------

std::int32_t first_equal(std::span<const float> logits, float value) {
    return static_cast<std::int32_t>(std::ranges::find(logits, value) - logits.begin());
}

bool changes_logits(const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    return !row.allowed.empty() || !p.logit_bias.empty() || p.repetition_penalty != 1.0f || p.frequency_penalty != 0.0f ||
           p.presence_penalty != 0.0f;
}

void apply_repetition(std::span<float> logits, const SamplingRow& row) {
    const float penalty = row.parameters->repetition_penalty;
    std::vector<std::uint8_t>& seen = scratch().seen;
    seen.assign(logits.size(), 0);
    for (const auto ids : {row.prompt, row.output})
        for (const std::int32_t id : ids) {
            const auto i = static_cast<std::size_t>(id);
            if (id < 0 || i >= logits.size() || seen[i]) continue;
            seen[i] = 1;
            logits[i] = logits[i] < 0.0f ? logits[i] * penalty : logits[i] / penalty;
        }
}

void apply_frequency_and_presence(std::span<float> logits, const SamplingRow& row) {
    std::vector<std::int32_t>& counts = scratch().counts;
    if (counts.size() < logits.size()) counts.resize(logits.size());
    const auto outside = [&](std::int32_t id) { return id < 0 || static_cast<std::size_t>(id) >= logits.size(); };
    for (const std::int32_t id : row.output)
        if (!outside(id)) ++counts[static_cast<std::size_t>(id)];
    for (const std::int32_t id : row.output) {
        if (outside(id)) continue;
        const auto i = static_cast<std::size_t>(id);
        if (counts[i] == 0) continue;
        logits[i] -= row.parameters->frequency_penalty * static_cast<float>(counts[i]);
        logits[i] -= row.parameters->presence_penalty;
        counts[i] = 0;
    }
}

std::span<const float> changed_logits(std::span<const float> logits, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    std::vector<float>& changed = scratch().logits;
    changed.assign(logits.begin(), logits.end());
    if (!row.allowed.empty()) {
        NARAE_CHECK(row.allowed.size() >= (logits.size() + 31) / 32, "the mask of allowed tokens has {} words for {} tokens",
                    row.allowed.size(), logits.size());
        for (std::size_t i = 0; i < changed.size(); ++i)
            if (!(row.allowed[i / 32] >> (i % 32) & 1u)) changed[i] = kLowest;
    }
    for (const auto& [id, bias] : p.logit_bias) {
        NARAE_CHECK(id >= 0 && static_cast<std::size_t>(id) < changed.size(), "logit bias for token {} of {}", id,
                    changed.size());
        changed[static_cast<std::size_t>(id)] += bias;
    }
    if (p.repetition_penalty != 1.0f) apply_repetition(changed, row);
    if (p.frequency_penalty != 0.0f || p.presence_penalty != 0.0f) apply_frequency_and_presence(changed, row);
    return changed;
}

// ---- truncation -------------------------------------------------------------------------------------------------------

struct Candidate {
    float logit;
    std::int32_t id;
    std::uint64_t weight;
};

// value * share, rounded up: exact, since a float is an integer times a power of two. share is in (0, 1).
std::uint64_t share_of(std::uint64_t value, float share) {
    int exponent = 0;
    const auto significand =
        static_cast<std::uint64_t>(std::ldexp(std::frexp(share, &exponent), 24));  // share = s * 2^(e - 24)
    const int shift = 24 - exponent;
    const Uint128 product = Uint128{value} * significand;
    if (shift >= 127) return product == 0 ? 0 : 1;
    return static_cast<std::uint64_t>((product + ((Uint128{1} << shift) - 1)) >> shift);
}

std::uint64_t total_weight(const std::vector<Candidate>& candidates) {
    std::uint64_t total = 0;
    for (const Candidate& candidate : candidates) total += candidate.weight;
    return total;
}

// A candidate's place in some order: rank, then id.
struct Place {
    std::uint64_t key, weight;
};

std::uint64_t place_key(std::uint32_t rank, std::int32_t id) {
    return std::uint64_t{rank} << 32 | static_cast<std::uint32_t>(id);
}

// The key of the last that is kept when candidates are taken in order until their weight is at least `target`, which is at
// most the weight of all. Halves the range that must hold it instead of sorting everything.
std::uint64_t last_kept(std::vector<Place>& places, std::uint64_t target) {
    auto first = places.begin(), last = places.end();
    while (last - first > 1) {
        const auto middle = first + (last - first) / 2;
        std::ranges::nth_element(first, middle, last, {}, &Place::key);
        std::uint64_t weight = 0;
        for (auto it = first; it != middle; ++it) weight += it->weight;
        if (weight >= target) {
            last = middle;
        } else {
            target -= weight;
            first = middle;
        }
    }
    return first->key;
}

// Keeps the first candidates by rank(candidate) whose weight reaches `target`; the vector stays in order of ids.
template <class Rank>
void keep_weight(std::vector<Candidate>& candidates, std::uint64_t target, Rank rank) {
    std::vector<Place> places;
    places.reserve(candidates.size());
    for (const Candidate& candidate : candidates)
        places.push_back({place_key(rank(candidate), candidate.id), candidate.weight});
    const std::uint64_t last = last_kept(places, target);
    std::erase_if(candidates, [&](const Candidate& candidate) { return place_key(rank(candidate), candidate.id) > last; });
}

// Orders logits from the largest to the smallest, with -0 equal to 0.
std::uint32_t descending_rank(const Candidate& candidate) {
    const auto bits = std::bit_cast<std::uint32_t>(candidate.logit + 0.0f);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

void keep_top_k(std::vector<Candidate>& candidates, std::size_t k) {
    if (candidates.size() <= k) return;
    std::vector<float> values(candidates.size());
    std::ranges::transform(candidates, values.begin(), &Candidate::logit);
    const auto kth = values.begin() + static_cast<std::ptrdiff_t>(k) - 1;
    std::ranges::nth_element(values, kth, std::greater<>());
    std::erase_if(candidates, [limit = *kth](const Candidate& candidate) { return candidate.logit < limit; });
}

// With surprise_i = log2(sum) - y_i, |surprise_i - entropy| is |mean of y - y_i|: no logarithm is needed.
void keep_typical(std::vector<Candidate>& candidates, float share, WeightScale scale) {
    const auto depth = [&](const Candidate& candidate) {  // -y, at most 41 * 2^20, since the weight is not 0
        return static_cast<std::int64_t>(scale.exponent(candidate.logit) * -1048576.0f);
    };
    const std::uint64_t total = total_weight(candidates);
    Uint128 sum = 0;
    for (const Candidate& candidate : candidates)
        sum += Uint128{candidate.weight} * static_cast<std::uint64_t>(depth(candidate));
    const auto mean = static_cast<std::int64_t>(sum / total);
    keep_weight(candidates, share_of(total, share),
                [&](const Candidate& candidate) { return static_cast<std::uint32_t>(std::abs(depth(candidate) - mean)); });
}

constexpr int kBuckets = 165;  // of a quarter in y; the last holds what has no weight

float bucket_position(WeightScale scale, float logit) { return std::min(scale.exponent(logit) * -4.0f, kBuckets - 1.0f); }

struct Nearest {
    std::vector<Candidate> candidates;  // in order of ids
    std::uint64_t collected = 0;        // their weight
    std::uint64_t total = 0;            // the weight of all that min-p leaves
};

// The tokens that min-p leaves and whose bucket is below `end`.
Nearest collect_nearest(std::span<const float> logits, WeightScale scale, std::uint64_t least, int end) {
    // A weight errs by far less than a bucket: below this one, the bucket is surely past the end.
    const std::uint64_t surely_past = std::max(least, end < kBuckets ? kOne >> (end / 4 + 1) : 1);
    Nearest nearest;
    for_each_chunk(logits, scale, [&](std::size_t begin, std::span<const std::uint64_t> weights, std::uint64_t sum) {
        if (least == 1) {
            nearest.total += sum;
        } else {
            for (const std::uint64_t weight : weights) nearest.total += weight >= least ? weight : 0;
        }
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (weights[i] < surely_past || bucket_position(scale, logits[begin + i]) >= static_cast<float>(end)) continue;
            nearest.candidates.push_back({logits[begin + i], static_cast<std::int32_t>(begin + i), weights[i]});
            nearest.collected += weights[i];
        }
    });
    return nearest;
}

// How many buckets hold all that top-k or, where that is off, top-p can keep.
int needed_buckets(std::span<const float> logits, const SamplingParameters& p, WeightScale scale, std::uint64_t least) {
    std::array<std::uint64_t, kBuckets> amounts{};  // tokens or weight
    for_each_chunk(logits, scale, [&](std::size_t begin, std::span<const std::uint64_t> weights, std::uint64_t) {
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const std::uint64_t amount = p.top_k > 0 ? 1 : weights[i];
            amounts[static_cast<std::size_t>(bucket_position(scale, logits[begin + i]))] += weights[i] >= least ? amount : 0;
        }
    });
    const std::uint64_t total = std::accumulate(amounts.begin(), amounts.end(), std::uint64_t{0});
    const std::uint64_t target = p.top_k > 0 ? static_cast<std::uint64_t>(p.top_k) : share_of(total, p.top_p);
    std::size_t end = 0;
    for (std::uint64_t reached = 0; end < kBuckets && reached < target; ++end) reached += amounts[end];
    return static_cast<int>(end);
}

// The candidates that min-p leaves, without most of those that top-k or top-p is sure to drop: usually a first look at the
// tokens near the largest is enough.
Nearest collect(std::span<const float> logits, const SamplingParameters& p, WeightScale scale) {
    constexpr int kFirstLook = 40;
    const std::uint64_t least = std::max<std::uint64_t>(p.min_p > 0.0f ? share_of(kOne, p.min_p) : 0, 1);
    if (p.top_k <= 0 && p.top_p >= 1.0f) return collect_nearest(logits, scale, least, kBuckets);
    Nearest nearest = collect_nearest(logits, scale, least, kFirstLook);
    const bool enough = p.top_k > 0 ? nearest.candidates.size() >= static_cast<std::size_t>(p.top_k)
                                    : nearest.collected >= share_of(nearest.total, p.top_p);
    if (enough || nearest.collected == nearest.total) return nearest;
    return collect_nearest(logits, scale, least, needed_buckets(logits, p, scale, least));
}

// ---- the draw ---------------------------------------------------------------------------------------------------------

// A number in [0, sum); a token's share of the 2^64 random numbers is its share of the weights, to within one number.
std::uint64_t draw_below(std::uint64_t sum, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    const auto position = static_cast<std::uint64_t>(row.position);
    const auto words =
        philox4x32({static_cast<std::uint32_t>(p.seed), static_cast<std::uint32_t>(p.seed >> 32)},
                   {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), p.choice, 0});
    const std::uint64_t random = std::uint64_t{words[1]} << 32 | words[0];
    return static_cast<std::uint64_t>(Uint128{random} * sum >> 64);
}

std::int32_t draw(const std::vector<Candidate>& candidates, const SamplingRow& row) {
    std::uint64_t left = draw_below(total_weight(candidates), row);
    for (const Candidate& candidate : candidates) {
        if (left < candidate.weight) return candidate.id;
        left -= candidate.weight;
    }
    NARAE_CHECK(false, "the draw passed the sum of {} weights", candidates.size());
}

// The same over all tokens, without collecting them.
std::int32_t draw(std::span<const float> logits, WeightScale scale, const SamplingRow& row) {
    const auto weigh = best_kernels().weigh;
    std::vector<std::uint64_t>& sums = scratch().chunk_weights;
    sums.resize((logits.size() + kChunk - 1) / kChunk);
    std::array<std::uint64_t, kChunk> weights;
    const auto weigh_chunk = [&](std::size_t chunk) {
        const std::size_t begin = chunk * kChunk;
        return weigh(scale, &logits[begin], std::min(kChunk, logits.size() - begin), weights.data());
    };
    std::uint64_t sum = 0;
    for (std::size_t chunk = 0; chunk < sums.size(); ++chunk) sum += sums[chunk] = weigh_chunk(chunk);
    std::uint64_t left = draw_below(sum, row);
    std::size_t chunk = 0;
    for (; left >= sums[chunk]; ++chunk) left -= sums[chunk];
    weigh_chunk(chunk);
    std::size_t i = 0;
    for (; left >= weights[i]; ++i) left -= weights[i];
    return static_cast<std::int32_t>(chunk * kChunk + i);
}

void check_range(bool inside, std::string_view name, double value, std::string_view range) {
    if (!inside) throw_error<UsageError>("{}: found {}, need {}", name, value, range);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 2> key, std::array<std::uint32_t, 4> counter) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
                   static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
        key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
    }
    return counter;
}

void validate(const SamplingParameters& p, int vocab) {
    check_range(p.temperature >= 0.0f && p.temperature <= kLargest, "temperature", p.temperature,
                "a finite number from 0 (greedy)");
    check_range(p.top_k >= 0, "top_k", p.top_k, "0 (off) or more");
    check_range(p.top_p > 0.0f && p.top_p <= 1.0f, "top_p", p.top_p, "over 0 and at most 1 (off)");
    check_range(p.min_p >= 0.0f && p.min_p < 1.0f, "min_p", p.min_p, "from 0 (off) to below 1");
    check_range(p.typical_p > 0.0f && p.typical_p <= 1.0f, "typical_p", p.typical_p, "over 0 and at most 1 (off)");
    check_range(p.repetition_penalty > 0.0f && p.repetition_penalty <= kLargest, "repetition_penalty", p.repetition_penalty,
                "a finite number over 0 (1: off)");
    check_range(p.frequency_penalty >= -2.0f && p.frequency_penalty <= 2.0f, "frequency_penalty", p.frequency_penalty,
                "from -2 to 2 (0: off)");
    check_range(p.presence_penalty >= -2.0f && p.presence_penalty <= 2.0f, "presence_penalty", p.presence_penalty,
                "from -2 to 2 (0: off)");
    for (const auto& [id, bias] : p.logit_bias) {
        if (id < 0 || id >= vocab) throw_error<UsageError>("logit_bias: found token {}, need an id below {}", id, vocab);
        if (!(bias >= -100.0f && bias <= 100.0f))
            throw_error<UsageError>("logit_bias: found {} for token {}, need a number from -100 to 100", bias, id);
    }
}

Sampled sample_token(std::span<const float> logits, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    NARAE_CHECK(logits.size() <= std::size_t{1} << 23, "{} logits: the sum of their weights may not fit 64 bits",
                logits.size());
    LogitExtent range = best_kernels().extent(logits.data(), logits.size());
    if (range.finite && changes_logits(row)) {
        logits = changed_logits(logits, row);
        range = best_kernels().extent(logits.data(), logits.size());
    }
    if (!range.finite || range.max == kLowest) return {.id = 0, .finite = false};
    if (p.temperature == 0.0f) return {.id = first_equal(logits, range.max)};

    const WeightScale scale{range.max, std::min(0x1.715476p+0f / p.temperature, kLargest)};
    const bool top_p = p.top_p < 1.0f, typical = p.typical_p < 1.0f;
    if (p.min_p <= 0.0f && p.top_k <= 0 && !top_p && !typical) return {.id = draw(logits, scale, row)};

    auto [candidates, collected, total] = collect(logits, p, scale);
    if (p.top_k > 0) {
        keep_top_k(candidates, static_cast<std::size_t>(p.top_k));
        total = total_weight(candidates);
    }
    if (top_p) keep_weight(candidates, share_of(total, p.top_p), descending_rank);
    if (typical) keep_typical(candidates, p.typical_p, scale);
    return {.id = draw(candidates, row)};
}

}  // namespace narae::kernels
