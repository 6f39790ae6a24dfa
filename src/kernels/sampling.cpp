#include "kernels/sampling.h"

#include "base/error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace narae::kernels {
namespace {

__extension__ using Uint128 = unsigned __int128;

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr std::size_t kLanes = 16;   // of the loops that the compiler turns into vector instructions
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

// ---- weights ----------------------------------------------------------------------------------------------------------

// 2^y for y <= 0 is 2^n * p(f), n the nearest integer (ties to even), f = y - n exactly, p of degree 6 with p(0) = 1:
// significand = p * 2^24 exactly, 24 or 25 bits; exponent = -n. Relative error below 1.7 * 2^-24. Our own least-maximum fit of
// the relative error over [-1/2, 1/2].
struct Power {
    std::int32_t significand, exponent;
};

inline Power power_of_two(float y) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    y = y < -64.0f ? -64.0f : y;
    const float n = (y + kRound) - kRound;
    const float f = y - n;
    float p = 0x1.41fbbcp-13f;
    p = p * f + 0x1.5f3e52p-10f;
    p = p * f + 0x1.3b2d4cp-7f;
    p = p * f + 0x1.c6aee8p-5f;
    p = p * f + 0x1.ebfbdcp-3f;
    p = p * f + 0x1.62e430p-1f;
    p = p * f + 1.0f;
    return {static_cast<std::int32_t>(p * 16777216.0f), -static_cast<std::int32_t>(n)};
}

inline std::uint64_t fixed_point(Power power) {
    return (static_cast<std::uint64_t>(power.significand) << 16) >> std::min(power.exponent, 63);
}

constexpr std::uint64_t kOne = std::uint64_t{1} << 40;

struct Scale {
    float max, factor;
    float exponent(float logit) const { return (logit - max) * factor; }  // y
    std::uint64_t weight(float logit) const { return fixed_point(power_of_two(exponent(logit))); }
};

// Weights of kLanes logits; the floating-point half is free of branches.
inline void weigh(const Scale& scale, const float* logits, std::uint64_t* weights) {
    std::int32_t significands[kLanes], exponents[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) {
        const Power power = power_of_two(scale.exponent(logits[i]));
        significands[i] = power.significand;
        exponents[i] = power.exponent;
    }
    for (std::size_t i = 0; i < kLanes; ++i) weights[i] = fixed_point({significands[i], exponents[i]});
}

// Calls visit(i, weight) for every token in order of ids.
template <class Visit>
void for_each_weight(const Scale& scale, std::span<const float> logits, Visit visit) {
    std::uint64_t weights[kLanes];
    std::size_t i = 0;
    for (; i + kLanes <= logits.size(); i += kLanes) {
        weigh(scale, &logits[i], weights);
        for (std::size_t j = 0; j < kLanes; ++j) visit(i + j, weights[j]);
    }
    for (; i < logits.size(); ++i) visit(i, scale.weight(logits[i]));
}

// ---- the row ----------------------------------------------------------------------------------------------------------

struct Extent {
    float max = kLowest;
    bool finite = true;  // no NaN and no +infinity
};

Extent extent(std::span<const float> logits) {
    float max[kLanes];
    std::int32_t bad[kLanes] = {};
    std::ranges::fill(max, kLowest);
    std::size_t i = 0;
    for (; i + kLanes <= logits.size(); i += kLanes)
        for (std::size_t j = 0; j < kLanes; ++j) {
            const float x = logits[i + j];
            max[j] = x > max[j] ? x : max[j];
            bad[j] |= !(x <= kLargest);
        }
    Extent result;
    for (; i < logits.size(); ++i) {
        max[0] = logits[i] > max[0] ? logits[i] : max[0];
        bad[0] |= !(logits[i] <= kLargest);
    }
    for (std::size_t j = 0; j < kLanes; ++j) {
        result.max = std::max(result.max, max[j]);
        result.finite = result.finite && !bad[j];
    }
    return result;
}

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

// Of `before`'s order, the last that is kept when tokens are taken until their weight is at least `target`, which is at most
// the weight of all. Reorders `candidates`. Halves the range that must hold it instead of sorting everything.
template <class Before>
Candidate last_kept(std::vector<Candidate>& candidates, std::uint64_t target, Before before) {
    auto first = candidates.begin(), last = candidates.end();
    while (last - first > 1) {
        const auto middle = first + (last - first) / 2;
        std::nth_element(first, middle, last, before);
        std::uint64_t weight = 0;
        for (auto it = first; it != middle; ++it) weight += it->weight;
        if (weight >= target) {
            last = middle;
        } else {
            target -= weight;
            first = middle;
        }
    }
    return *first;
}

// Keeps, in order of ids, what comes before or is `last_kept`.
template <class Before>
void keep_weight(std::vector<Candidate>& candidates, std::uint64_t target, Before before) {
    std::vector<Candidate> order = candidates;
    const Candidate last = last_kept(order, target, before);
    std::erase_if(candidates, [&](const Candidate& candidate) { return before(last, candidate); });
}

bool larger_logit(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

void keep_top_k(std::vector<Candidate>& candidates, std::size_t k) {
    if (candidates.size() <= k) return;
    std::vector<float> values(candidates.size());
    std::ranges::transform(candidates, values.begin(), &Candidate::logit);
    const auto kth = values.begin() + static_cast<std::ptrdiff_t>(k) - 1;
    std::ranges::nth_element(values, kth, std::greater<>());
    std::erase_if(candidates, [limit = *kth](const Candidate& candidate) { return candidate.logit < limit; });
}

// With surprise_i = log2(sum) - y_i, |surprise_i - entropy| is |mean of y - y_i|: no logarithm is needed.
void keep_typical(std::vector<Candidate>& candidates, float share, const Scale& scale) {
    const auto depth = [&](const Candidate& candidate) {  // -y, at most 41 * 2^20, since the weight is not 0
        return static_cast<std::int64_t>(scale.exponent(candidate.logit) * -1048576.0f);
    };
    const std::uint64_t total = total_weight(candidates);
    Uint128 sum = 0;
    for (const Candidate& candidate : candidates)
        sum += Uint128{candidate.weight} * static_cast<std::uint64_t>(depth(candidate));
    const auto mean = static_cast<std::int64_t>(sum / total);
    keep_weight(candidates, share_of(total, share), [&](const Candidate& a, const Candidate& b) {
        const std::int64_t distance_a = std::abs(depth(a) - mean), distance_b = std::abs(depth(b) - mean);
        return distance_a != distance_b ? distance_a < distance_b : a.id < b.id;
    });
}

// Tokens of equal or neighbouring y, largest first, counted and weighed without being sorted.
constexpr int kBucketsPerUnit = 32;
constexpr int kBuckets = 42 * kBucketsPerUnit;  // y of a token whose weight is not 0 is above -41

int bucket_of(float y) { return std::min(static_cast<int>(y * -static_cast<float>(kBucketsPerUnit)), kBuckets - 1); }

struct Histogram {
    std::array<std::uint32_t, kBuckets> counts{};
    std::array<std::uint64_t, kBuckets> weights{};
    std::uint64_t total = 0;
};

// The candidates that min-p leaves, in order of ids, without those that top-k (or, where that is off, top-p) is sure to drop.
std::vector<Candidate> collect(std::span<const float> logits, const SamplingParameters& p, const Scale& scale,
                               std::uint64_t& total) {
    const std::uint64_t least = std::max<std::uint64_t>(p.min_p > 0.0f ? share_of(kOne, p.min_p) : 0, 1);
    Histogram histogram;
    for_each_weight(scale, logits, [&](std::size_t i, std::uint64_t weight) {
        if (weight < least) return;
        const auto bucket = static_cast<std::size_t>(bucket_of(scale.exponent(logits[i])));
        ++histogram.counts[bucket];
        histogram.weights[bucket] += weight;
        histogram.total += weight;
    });
    total = histogram.total;
    const std::uint64_t target = p.top_k > 0      ? static_cast<std::uint64_t>(p.top_k)
                                 : p.top_p < 1.0f ? share_of(histogram.total, p.top_p)
                                                  : std::numeric_limits<std::uint64_t>::max();
    std::size_t count = 0;
    int end = 0;
    for (std::uint64_t reached = 0; end < kBuckets && reached < target; ++end) {
        const auto bucket = static_cast<std::size_t>(end);
        reached += p.top_k > 0 ? histogram.counts[bucket] : histogram.weights[bucket];
        count += histogram.counts[bucket];
    }
    std::vector<Candidate> candidates;
    candidates.reserve(count);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const float y = scale.exponent(logits[i]);
        if (!(y > -42.0f) || bucket_of(y) >= end) continue;
        const std::uint64_t weight = scale.weight(logits[i]);
        if (weight >= least) candidates.push_back({logits[i], static_cast<std::int32_t>(i), weight});
    }
    return candidates;
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
std::int32_t draw(std::span<const float> logits, const Scale& scale, const SamplingRow& row) {
    std::vector<std::uint64_t>& chunks = scratch().chunk_weights;
    chunks.assign((logits.size() + kChunk - 1) / kChunk, 0);
    std::uint64_t sum = 0;
    for (std::size_t c = 0; c < chunks.size(); ++c) {
        const auto part = logits.subspan(c * kChunk, std::min(kChunk, logits.size() - c * kChunk));
        std::uint64_t weight = 0;
        for_each_weight(scale, part, [&](std::size_t, std::uint64_t w) { weight += w; });
        chunks[c] = weight;
        sum += weight;
    }
    std::uint64_t left = draw_below(sum, row);
    std::size_t c = 0;
    for (; left >= chunks[c]; ++c) left -= chunks[c];
    for (std::size_t i = c * kChunk; i < logits.size(); ++i) {
        const std::uint64_t weight = scale.weight(logits[i]);
        if (left < weight) return static_cast<std::int32_t>(i);
        left -= weight;
    }
    NARAE_CHECK(false, "the draw passed the sum of {} weights", logits.size());
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
    Extent range = extent(logits);
    if (range.finite && changes_logits(row)) {
        logits = changed_logits(logits, row);
        range = extent(logits);
    }
    if (!range.finite || range.max == kLowest) return {.id = 0, .finite = false};
    if (p.temperature == 0.0f) return {.id = first_equal(logits, range.max)};

    const Scale scale{range.max, std::min(0x1.715476p+0f / p.temperature, kLargest)};
    const bool top_p = p.top_p < 1.0f, typical = p.typical_p < 1.0f;
    if (p.min_p <= 0.0f && p.top_k <= 0 && !top_p && !typical) return {.id = draw(logits, scale, row)};

    std::uint64_t total = 0;
    std::vector<Candidate> candidates = collect(logits, p, scale, total);
    if (p.top_k > 0) {
        keep_top_k(candidates, static_cast<std::size_t>(p.top_k));
        total = total_weight(candidates);
    }
    if (top_p) keep_weight(candidates, share_of(total, p.top_p), larger_logit);
    if (typical) keep_typical(candidates, p.typical_p, scale);
    return {.id = draw(candidates, row)};
}

}  // namespace narae::kernels
