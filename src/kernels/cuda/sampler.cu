// Three kernels, launched for every step; blockIdx.y is the row and blockIdx.x a chunk of its vocabulary. In each, the last
// block of a row to finish carries on for all of it.
//   find_largest  makes the changed logits (mask, bias, penalties) and finds the largest; greedy rows are then done
//   find_cut      only for top-k and top-p: a histogram of counts and weights over bins of logits, and which bins are kept
//                 whole, dropped whole, or must be looked into
//   choose        weights of chunks and a list of the tokens of those bins; the exact limits, by a radix select over the list;
//                 the draw
// Sums are integers, so that neither their order nor the order of the list matters.
#include "kernels/cuda/sampling_device.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kLoads = kTile / kThreads;  // that a thread has in flight

__device__ std::size_t at(int row, int columns) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(columns); }

// Calls visit(logit, id) in all threads of a warp or none; past `end` with -infinity.
template <class Visit>
__device__ void for_each_token(const float* logits, int begin, int end, Visit visit) {
    for (int tile = begin; tile < end; tile += kTile) {
        float values[kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            const int id = tile + i * kThreads + static_cast<int>(threadIdx.x);
            values[i] = id < end ? logits[id] : -kInfinity;
        }
#pragma unroll
        for (int i = 0; i < kLoads; ++i) visit(values[i], tile + i * kThreads + static_cast<int>(threadIdx.x));
    }
}

__device__ void decide(const SamplingArrays& arrays, int row, const Sampled& sampled) {
    arrays.results[row] = sampled;
    const std::int32_t slot = arrays.staged[row].slot;
    if (slot >= 0) arrays.slots[slot] = sampled.id;
}

// ---- the first kernel -----------------------------------------------------------------------------------------------------

__device__ float changed_logit(float logit, const StagedRow& row, const Touched& touched) {
    const Bias* const biases = row.list<Bias>(row.biases_at);
    for (std::int32_t i = touched.first_bias; i >= 0; i = biases[i].next) logit = add(logit, biases[i].value);
    if (touched.output_count >= 0)
        logit = logit < 0.0f ? multiply(logit, row.repetition_penalty) : divide(logit, row.repetition_penalty);
    if (touched.output_count > 0) {
        logit = subtract(logit, multiply(row.frequency_penalty, static_cast<float>(touched.output_count)));
        logit = subtract(logit, row.presence_penalty);
    }
    return logit;
}

__device__ bool is_allowed(const StagedRow& row, int id) {
    return !row.masked || (row.list<std::uint32_t>(row.allowed_at)[id / 32] >> (id % 32) & 1u);
}

// Those of tokens [begin, end), of which `changed` holds the logits.
__device__ void change_touched(const StagedRow& row, int begin, int end, float* changed) {
    const Touched* const touched = row.list<Touched>(row.touched_at);
    for (unsigned i = threadIdx.x; i < row.touched; i += kThreads) {
        const Touched token = touched[i];
        if (token.id >= begin && token.id < end) changed[token.id] = changed_logit(changed[token.id], row, token);
    }
}

__global__ void __launch_bounds__(kThreads) find_largest(SamplingArrays arrays, const float* logits, int vocab, int chunk) {
    wait_for_inputs();
    let_next_start();
    const int row = static_cast<int>(blockIdx.y);
    const int begin = static_cast<int>(blockIdx.x) * chunk, end = min(begin + chunk, vocab);
    const StagedRow staged = arrays.staged[row];
    float* const changed = arrays.changed + at(row, vocab);
    bool finite = true;
    Word first = ~Word{0};
    const auto look_at = [&](float logit, int id) {
        finite = finite && logit <= kLargestFloat;
        const Word key = place_key(descending_rank(logit), id);
        first = key < first ? key : first;
    };
    for_each_token(logits + at(row, vocab), begin, end, [&](float logit, int id) {
        if (!staged.changes()) {
            look_at(logit, id);
            return;
        }
        finite = finite && logit <= kLargestFloat;  // also where it is masked
        if (id < end) changed[id] = is_allowed(staged, id) ? logit : -kInfinity;
    });
    if (staged.changes()) {
        __syncthreads();
        change_touched(staged, begin, end, changed);
        __syncthreads();
        for_each_token(changed, begin, end, look_at);
    }
    first = block_min(finite ? first : 0);
    RowState& state = arrays.states[row];
    if (threadIdx.x == 0) atomicMax(&state.best, ~first);
    if (!last_to_arrive(&state.arrived[0], gridDim.x) || threadIdx.x != 0) return;
    first = ~atomicExch(&state.best, Word{0});
    const float max = logit_of_rank(static_cast<std::uint32_t>(first >> 32));
    const bool usable = first != 0 && max > -kInfinity;
    state.max = max;
    state.undecided = usable && !staged.greedy;
    if (!state.undecided) decide(arrays, row, {usable ? static_cast<std::int32_t>(first) : 0, usable});
}

// ---- the row's tokens, after the first kernel -------------------------------------------------------------------------------

struct Token {
    float y;
    Word weight;  // 0: dropped by min-p, or too small
    int bin;
};

struct Row {
    const float* logits;
    int vocab;
    float max, factor;
    Word least;

    __device__ Token token(float logit) const {
        const float y = exponent_of(logit, max, factor);
        const Word weight = weight_of(y);
        return {y, weight >= least ? weight : 0, bin_of(y)};
    }
};

__device__ Row row_of(const SamplingArrays& arrays, const StagedRow& staged, const float* logits, int row, int vocab) {
    const float* const source = staged.changes() ? arrays.changed : logits;
    return {source + at(row, vocab), vocab, arrays.states[row].max, staged.factor, staged.least};
}

// ---- the second kernel ------------------------------------------------------------------------------------------------------

constexpr int kBinsOfThread = 2;
static_assert(kBinsOfThread * kThreads > kBins);

// Where the limits of top-k and top-p lie, from the sums of all bins. Leaves the sums at zero.
__device__ void cut_bins(RowState& state, const StagedRow& staged) {
    const int first = static_cast<int>(threadIdx.x) * kBinsOfThread;
    Word counts[kBinsOfThread], weights[kBinsOfThread];
    for (int i = 0; i < kBinsOfThread; ++i) {
        const bool exists = first + i < kBins;
        counts[i] = exists ? atomicExch(&state.bin_counts[first + i], 0u) : 0;
        weights[i] = exists ? atomicExch(&state.bin_weights[first + i], Word{0}) : 0;
    }
    const Scan count = block_scan(counts[0] + counts[1]), weight = block_scan(weights[0] + weights[1]);
    const Word count_before[kBinsOfThread] = {count.before, count.before + counts[0]};
    const Word weight_before[kBinsOfThread] = {weight.before, weight.before + weights[0]};

    __shared__ int top_k_bin, top_p_bin;
    __shared__ Word surely_left;  // of the weight, after top-k
    const bool top_k = staged.top_k > 0 && staged.top_k < count.total;
    if (threadIdx.x == 0) {
        top_k_bin = kBins - 1;
        top_p_bin = top_k ? 0 : kBins;
        surely_left = weight.total;
    }
    __syncthreads();
    if (top_k) {
        for (int i = 0; i < kBinsOfThread; ++i)
            if (count_before[i] < staged.top_k && staged.top_k <= count_before[i] + counts[i]) {
                top_k_bin = first + i;
                surely_left = weight_before[i];
            }
    }
    __syncthreads();
    if (staged.top_p.on()) {
        const Word target = share_of(surely_left, staged.top_p);
        for (int i = 0; i < kBinsOfThread; ++i)
            if (weight_before[i] < target && target <= weight_before[i] + weights[i]) top_p_bin = first + i;
    } else if (top_k && threadIdx.x == 0) {
        top_p_bin = top_k_bin;
    }
    __syncthreads();
    const int sure = staged.typical_p.on() ? 0 : top_p_bin;
    const int last = !top_k && top_p_bin < kBins ? top_p_bin : top_k_bin;
    for (int i = 0; i < kBinsOfThread; ++i)
        if (first + i == sure) state.cut = {sure, last, top_k, count_before[i], weight_before[i], weight.total};
}

__global__ void __launch_bounds__(kThreads) find_cut(SamplingArrays arrays, const float* logits, int vocab, int chunk) {
    wait_for_inputs();
    let_next_start();
    const int row_index = static_cast<int>(blockIdx.y);
    RowState& state = arrays.states[row_index];
    const StagedRow staged = arrays.staged[row_index];
    if (!state.undecided || !staged.cuts()) return;
    __shared__ Histogram<kBins> bins;
    bins.clear();
    __syncthreads();
    const Row row = row_of(arrays, staged, logits, row_index, vocab);
    const int begin = static_cast<int>(blockIdx.x) * chunk, end = min(begin + chunk, vocab);
    for_each_token(row.logits, begin, end, [&](float logit, int) {
        const Token token = row.token(logit);
        bins.add(token.weight > 0, token.bin, token.weight);
    });
    __syncthreads();
    for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads) {
        if (bins.counts[bin] == 0) continue;
        atomicAdd(&state.bin_counts[bin], bins.counts[bin]);
        atomicAdd(&state.bin_weights[bin], bins.amount(bin));
    }
    if (last_to_arrive(&state.arrived[1], gridDim.x)) cut_bins(state, staged);
}

// ---- the third kernel -------------------------------------------------------------------------------------------------------

// What is left to look at one by one, and what of it is kept.
struct Candidate {
    bool present = false;
    int id = 0;
    float y = 0.0f;
    Word weight = 0;
    Word key = 0;  // place by logit
};

struct Candidates {
    Row row;
    Cut cut;
    const Word* keys;  // [count], in shared memory, in any order
    unsigned count;    // more than kListed: keys is nothing, and all tokens are looked at
    // What the truncations keep.
    Word last_key = ~Word{0};
    bool typical = false;
    int mean_depth = 0;
    Word last_typical_key = 0;

    __device__ Candidate candidate(float logit, int id) const {
        const Token token = row.token(logit);
        const bool present = token.weight > 0 && token.bin >= cut.sure && token.bin <= cut.last;
        return {present, id, token.y, token.weight, place_key(descending_rank(logit), id)};
    }
    // Calls visit(candidate) in all threads of a warp or none.
    template <class Visit>
    __device__ void for_each(Visit visit) const {
        if (count > kListed) {
            for_each_token(row.logits, 0, row.vocab, [&](float logit, int id) { visit(candidate(logit, id)); });
            return;
        }
        for (unsigned base = 0; base < count; base += kThreads) {
            const unsigned i = base + threadIdx.x;
            const Word key = i < count ? keys[i] : 0;
            visit(i < count ? candidate(logit_of_rank(static_cast<std::uint32_t>(key >> 32)), static_cast<int>(key))
                            : Candidate{});
        }
    }
    // Its place by the distance of its surprise from the entropy.
    __device__ Word typical_key(const Candidate& of) const {
        return place_key(static_cast<std::uint32_t>(abs(depth_of(of.y) - mean_depth)), of.id);
    }
    __device__ bool kept(const Candidate& of) const {
        return of.present && of.key <= last_key && (!typical || typical_key(of) <= last_typical_key);
    }
    __device__ Word kept_weight() const {
        Word sum = 0;
        for_each([&](const Candidate& of) { sum += kept(of) ? of.weight : 0; });
        return block_scan(sum).total;
    }
};

// What candidates are ordered by, and what is counted of them.
enum class Order { logit_counts, logit_weights, typical_weights };

// The key of the last candidate that is kept when those that are kept so far are taken in an order until what is counted
// reaches `target`, which is at least 1 and at most what all count. Narrows the key by 8 bits at a time.
__device__ Word find_last_kept(const Candidates& candidates, Word target, Order order) {
    constexpr int kDigits = 256;
    __shared__ Histogram<kDigits> digits;
    __shared__ int found_digit;
    __shared__ unsigned found_count;
    __shared__ Word found_before, found_key;
    const auto key_of = [&](const Candidate& of) {
        return order == Order::typical_weights ? candidates.typical_key(of) : of.key;
    };
    Word prefix = 0;
    int shift = 64;
    do {
        shift -= 8;
        digits.clear();
        __syncthreads();
        candidates.for_each([&](const Candidate& of) {
            const Word key = key_of(of);
            const bool matches = candidates.kept(of) && key >> shift >> 8 == prefix;
            digits.add(matches, static_cast<int>(key >> shift & (kDigits - 1)), order == Order::logit_counts ? 1 : of.weight);
        });
        __syncthreads();
        const int digit = static_cast<int>(threadIdx.x);
        const Word amount = digit < kDigits ? digits.amount(digit) : 0;
        const Word before = block_scan(amount).before;
        if (before < target && target <= before + amount) {
            found_digit = digit;
            found_count = digits.counts[digit];
            found_before = before;
        }
        __syncthreads();
        prefix = prefix << 8 | static_cast<Word>(found_digit);
        target -= found_before;
    } while (shift > 0 && found_count > 1);
    if (shift == 0) return prefix;
    candidates.for_each([&](const Candidate& of) {
        const Word key = key_of(of);
        if (candidates.kept(of) && key >> shift == prefix) found_key = key;
    });
    __syncthreads();
    return found_key;
}

__device__ void keep_top_k(Candidates& candidates, std::uint32_t top_k) {
    const Word last = find_last_kept(candidates, top_k - candidates.cut.sure_count, Order::logit_counts);
    candidates.last_key = last | 0xffffffffu;  // those of equal logits stay
}

__device__ void keep_top_p(Candidates& candidates, Share top_p) {
    const Cut& cut = candidates.cut;
    const Word total = cut.top_k ? cut.sure_weight + candidates.kept_weight() : cut.total;
    candidates.last_key = find_last_kept(candidates, share_of(total, top_p) - cut.sure_weight, Order::logit_weights);
}

// With surprise_i = log2(sum) - y_i, |surprise_i - entropy| is |mean of y - y_i|: no logarithm is needed.
__device__ void keep_typical(Candidates& candidates, Share typical_p) {
    Word total = 0, low = 0, high = 0;  // low and high: of the products' 32-bit halves; a product is below 2^60
    candidates.for_each([&](const Candidate& of) {
        if (!candidates.kept(of)) return;
        const Word product = of.weight * static_cast<Word>(depth_of(of.y));
        total += of.weight;
        low += product & 0xffffffffu;
        high += product >> 32;
    });
    total = block_scan(total).total;
    low = block_scan(low).total;
    high = block_scan(high).total;
    candidates.mean_depth = static_cast<int>(((Uint128{high} << 32) + low) / total);
    candidates.last_typical_key = find_last_kept(candidates, share_of(total, typical_p), Order::typical_weights);
    candidates.typical = true;
}

// The token of the row's random number: finds its chunk, then the token. One thread of the block decides.
__device__ void draw(const SamplingArrays& arrays, int row, const Candidates& candidates, int chunk, Word random) {
    __shared__ Histogram<kMostChunks> kept;
    __shared__ int chosen_chunk;
    __shared__ Word left_in_chunk;
    kept.clear();
    __syncthreads();
    candidates.for_each([&](const Candidate& of) { kept.add(candidates.kept(of), of.id / chunk, of.weight); });
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x);
    const Word* const sure_weights = arrays.chunk_weights + at(row, kMostChunks);
    const Word of_chunk = thread < static_cast<int>(gridDim.x) ? __ldcg(&sure_weights[thread]) + kept.amount(thread) : 0;
    const Scan chunks = block_scan(of_chunk);
    const Word number = __umul64hi(random, chunks.total);
    if (chunks.before <= number && number < chunks.before + of_chunk) {
        chosen_chunk = thread;
        left_in_chunk = number - chunks.before;
    }
    __syncthreads();

    const auto weight_at = [&](int id) -> Word {
        const float logit = candidates.row.logits[id];
        const Token token = candidates.row.token(logit);
        return token.bin < candidates.cut.sure || candidates.kept(candidates.candidate(logit, id)) ? token.weight : 0;
    };
    const int of_thread = chunk / kThreads, begin = chosen_chunk * chunk + thread * of_thread;
    const int end = min(begin + of_thread, candidates.row.vocab);
    Word weight = 0;
    for (int id = begin; id < end; ++id) weight += weight_at(id);
    const Word before = block_scan(weight).before;
    if (left_in_chunk < before || left_in_chunk >= before + weight) return;
    Word left = left_in_chunk - before;
    int id = begin;
    for (Word next = weight_at(id); left >= next; next = weight_at(id)) {
        left -= next;
        ++id;
    }
    decide(arrays, row, {id, true});
}

__global__ void __launch_bounds__(kThreads) choose(SamplingArrays arrays, const float* logits, int vocab, int chunk) {
    wait_for_inputs();
    const int row_index = static_cast<int>(blockIdx.y);
    RowState& state = arrays.states[row_index];
    const StagedRow staged = arrays.staged[row_index];
    if (!state.undecided) return;
    const Row row = row_of(arrays, staged, logits, row_index, vocab);
    Cut cut;
    if (staged.cuts())
        cut = state.cut;
    else if (staged.typical_p.on())
        cut.sure = 0;

    __shared__ Word keys[kListed];
    __shared__ unsigned listed, list_begin;
    if (threadIdx.x == 0) listed = 0;
    __syncthreads();
    Word sure_weight = 0;
    const int begin = static_cast<int>(blockIdx.x) * chunk, end = min(begin + chunk, vocab);
    for_each_token(row.logits, begin, end, [&](float logit, int id) {
        const Token token = row.token(logit);
        if (token.bin < cut.sure) sure_weight += token.weight;
        const bool lists = token.weight > 0 && token.bin >= cut.sure && token.bin <= cut.last;
        const unsigned lanes = __ballot_sync(kAllLanes, lists);
        if (lanes == 0) return;
        unsigned place = 0;
        if (lane_of_thread() == 0) place = atomicAdd(&listed, static_cast<unsigned>(__popc(lanes)));
        place = __shfl_sync(kAllLanes, place, 0) + static_cast<unsigned>(__popc(lanes & ((1u << lane_of_thread()) - 1)));
        if (lists && place < kListed) keys[place] = place_key(descending_rank(logit), id);
    });
    sure_weight = block_scan(sure_weight).total;
    if (threadIdx.x == 0) {
        arrays.chunk_weights[at(row_index, kMostChunks) + blockIdx.x] = sure_weight;
        list_begin = listed > 0 ? atomicAdd(&state.listed, listed) : 0;
    }
    __syncthreads();
    Word* const list = arrays.lists + at(row_index, kListed);
    for (unsigned i = threadIdx.x; i < listed && list_begin + i < kListed; i += kThreads) list[list_begin + i] = keys[i];
    if (!last_to_arrive(&state.arrived[2], gridDim.x)) return;

    if (threadIdx.x == 0) listed = atomicExch(&state.listed, 0u);
    __syncthreads();
    if (listed <= kListed)
        for (unsigned i = threadIdx.x; i < listed; i += kThreads) keys[i] = __ldcg(&list[i]);
    __syncthreads();
    Candidates candidates{row, cut, keys, listed};
    if (cut.top_k) keep_top_k(candidates, staged.top_k);
    if (staged.top_p.on()) keep_top_p(candidates, staged.top_p);
    if (staged.typical_p.on()) keep_typical(candidates, staged.typical_p);
    draw(arrays, row_index, candidates, chunk, staged.random);
}

}  // namespace

void launch_sampling(const Stream& stream, const SamplingArrays& arrays, const float* logits, int rows, int vocab, int chunk) {
    const dim3 grid(blocks_for(vocab, chunk), static_cast<unsigned>(rows));
    launch(stream, "find_largest", find_largest, grid, dim3(kThreads), 0, arrays, logits, vocab, chunk);
    launch(stream, "find_cut", find_cut, grid, dim3(kThreads), 0, arrays, logits, vocab, chunk);
    launch(stream, "choose", choose, grid, dim3(kThreads), 0, arrays, logits, vocab, chunk);
}

}  // namespace narae::kernels::cuda
