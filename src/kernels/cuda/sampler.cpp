#include "kernels/cuda/sampler.h"

#include "base/error.h"
#include "kernels/backend.h"
#include "kernels/cuda/sampling_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

namespace narae::kernels::cuda {
namespace {

// Collects what one row changes, each token once. Its array over the vocabulary is kept between rows.
class TouchedTokens {
public:
    void collect(const SamplingRow& row, int vocab) {
        const SamplingParameters& p = *row.parameters;
        for (const Touched& token : tokens_) place_[static_cast<std::size_t>(token.id)] = -1;
        if (place_.size() < static_cast<std::size_t>(vocab)) place_.resize(static_cast<std::size_t>(vocab), -1);
        vocab_ = vocab;
        tokens_.clear();
        biases_.clear();
        last_biases_.clear();
        for (const auto& [id, bias] : p.logit_bias) {
            NARAE_CHECK(id >= 0 && id < vocab, "logit bias for token {} of {}", id, vocab);
            add_bias(id, bias);
        }
        if (p.repetition_penalty != 1.0f)
            for (const auto ids : {row.prompt, row.output})
                for (const std::int32_t id : ids) count(id, 0);
        if (p.frequency_penalty != 0.0f || p.presence_penalty != 0.0f)
            for (const std::int32_t id : row.output) count(id, 1);
    }
    std::span<const Touched> tokens() const { return tokens_; }
    std::span<const Bias> biases() const { return biases_; }

private:
    std::size_t place_of(std::int32_t id) {
        std::int32_t& place = place_[static_cast<std::size_t>(id)];
        if (place < 0) {
            place = static_cast<std::int32_t>(tokens_.size());
            tokens_.push_back({id, -1, -1});
            last_biases_.push_back(-1);
        }
        return static_cast<std::size_t>(place);
    }
    void count(std::int32_t id, std::int32_t times) {
        if (id < 0 || id >= vocab_) return;
        std::int32_t& so_far = tokens_[place_of(id)].output_count;
        so_far = std::max(so_far, 0) + times;
    }
    void add_bias(std::int32_t id, float value) {
        const std::size_t place = place_of(id);
        const auto index = static_cast<std::int32_t>(biases_.size());
        biases_.push_back({value, -1});
        std::int32_t& last = last_biases_[place];
        (last < 0 ? tokens_[place].first_bias : biases_[static_cast<std::size_t>(last)].next) = index;
        last = index;
    }

    int vocab_ = 0;
    std::vector<std::int32_t> place_;  // [vocab] in tokens_, -1: not there
    std::vector<Touched> tokens_;
    std::vector<Bias> biases_;
    std::vector<std::int32_t> last_biases_;  // of each token
};

// The parameters of a row, without its lists.
StagedRow stage_parameters(const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    StagedRow staged;
    if (p.min_p > 0.0f) staged.least = std::max(share_of(kOneWeight, make_share(p.min_p)), Word{1});
    const auto position = static_cast<std::uint64_t>(row.position);
    const auto words =
        philox4x32({static_cast<std::uint32_t>(p.seed), static_cast<std::uint32_t>(p.seed >> 32)},
                   {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), p.choice, 0});
    staged.random = Word{words[1]} << 32 | words[0];
    if (p.top_p < 1.0f) staged.top_p = make_share(p.top_p);
    if (p.typical_p < 1.0f) staged.typical_p = make_share(p.typical_p);
    staged.greedy = p.temperature == 0.0f;
    staged.factor = std::min(0x1.715476p+0f / p.temperature, std::numeric_limits<float>::max());
    staged.repetition_penalty = p.repetition_penalty;
    staged.frequency_penalty = p.frequency_penalty;
    staged.presence_penalty = p.presence_penalty;
    staged.top_k = static_cast<std::uint32_t>(std::max(p.top_k, 0));
    return staged;
}

template <class T>
std::uint32_t append(std::vector<std::byte>& bytes, std::span<const T> values) {
    const std::size_t offset = bytes.size();
    NARAE_CHECK(offset + values.size_bytes() <= UINT32_MAX, "{} bytes of lists to sample with", offset + values.size_bytes());
    bytes.resize(offset + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes.data() + offset, values.data(), values.size_bytes());
    return static_cast<std::uint32_t>(offset);
}

// Where the arrays lie in the arena, and room for the lists of some rows; a step that needs more gets memory of its own.
struct Places {
    std::size_t list_bytes = 0;
    std::size_t staged = 0, states = 0, lists = 0, chunk_weights = 0, changed = 0, results = 0, slots = 0;
    std::size_t bytes = 0;
};

Places places_of(int max_rows, int max_slots, int vocab) {
    constexpr std::size_t kRowsWithLists = 32, kTokensTouched = 1024;
    const auto rows = static_cast<std::size_t>(max_rows), tokens = static_cast<std::size_t>(vocab);
    Places places;
    const auto cut = [&](std::size_t bytes) {
        const std::size_t offset = places.bytes;
        places.bytes += (bytes + 255) / 256 * 256;
        return offset;
    };
    places.list_bytes = std::min(rows, kRowsWithLists) * (tokens / 8 + 4 + kTokensTouched * sizeof(Touched));
    places.staged = cut(rows * sizeof(StagedRow) + places.list_bytes);
    places.states = cut(rows * sizeof(RowState));
    places.lists = cut(rows * kListed * sizeof(Word));
    places.chunk_weights = cut(rows * kMostChunks * sizeof(Word));
    places.changed = cut(rows * tokens * sizeof(float));
    places.results = cut(rows * sizeof(Sampled));
    places.slots = cut(static_cast<std::size_t>(max_slots) * sizeof(std::int32_t));
    return places;
}

// Tokens of a chunk: few for one row, so that all multiprocessors read; more for many rows.
int chunk_of(const Stream& stream, int rows, int vocab) {
    constexpr int kLeastChunks = 8, kBlocksOfMultiprocessor = 4;
    const int tiles = (vocab + kTile - 1) / kTile;
    const int share = kBlocksOfMultiprocessor * stream.multiprocessors / rows;
    const int chunks = std::clamp(share, kLeastChunks, kMostChunks);
    return (tiles + chunks - 1) / chunks * kTile;
}

}  // namespace

struct Sampler::State {
    // One of the buffers that rows are staged in by turns.
    struct Staging {
        PinnedMemory memory;
        Event copied;
        bool used = false;
    };

    int max_rows = 0, max_slots = 0, vocab = 0;
    Places places;
    DeviceMemory arena, more_lists;
    SamplingArrays arrays;
    std::vector<Staging> stagings;
    std::size_t calls = 0;

    TouchedTokens touched;
    std::vector<StagedRow> staged;
    std::vector<std::byte> lists;
    std::vector<std::size_t> row_of_slot;  // the last row of this call that has the slot

    void stage_row(const SamplingRow& row, int of_vocab, std::int32_t slot);
};

Sampler::Sampler() : state_(std::make_unique<State>()) {}
Sampler::~Sampler() = default;

std::size_t Sampler::device_bytes(int max_rows, int max_slots, int vocab) {
    return places_of(max_rows, max_slots, vocab).bytes;
}

void Sampler::reserve(const Stream& stream, int max_rows, int max_slots, int vocab) {
    State& s = *state_;
    max_rows = std::max(max_rows, s.max_rows);
    max_slots = std::max(max_slots, s.max_slots);
    vocab = std::max(vocab, s.vocab);
    if (max_rows == s.max_rows && max_slots == s.max_slots && vocab == s.vocab) return;
    NARAE_CHECK(vocab <= 1 << 23, "{} logits: the sum of their weights may not fit 64 bits", vocab);
    const Places places = places_of(max_rows, max_slots, vocab);
    DeviceMemory arena(stream, places.bytes);
    fill_zero(stream, arena.data() + places.states, static_cast<std::size_t>(max_rows) * sizeof(RowState));
    // Results are copied to the host whole, with the bytes between their members.
    fill_zero(stream, arena.data() + places.results, static_cast<std::size_t>(max_rows) * sizeof(Sampled));
    fill_zero(stream, arena.data() + places.slots, static_cast<std::size_t>(max_slots) * sizeof(std::int32_t));
    if (s.max_slots > 0)
        copy_on_device(stream, arena.data() + places.slots, s.arrays.slots,
                       static_cast<std::size_t>(s.max_slots) * sizeof(std::int32_t));
    s.stagings.resize(Backend::kTicketsKept);
    synchronize(stream);  // with copies out of the memory that is replaced
    for (State::Staging& staging : s.stagings)
        staging.memory = PinnedMemory(static_cast<std::size_t>(max_rows) * sizeof(StagedRow) + places.list_bytes);
    s.arena = std::move(arena);
    s.places = places;
    s.max_rows = max_rows;
    s.max_slots = max_slots;
    s.vocab = vocab;
    std::byte* const base = s.arena.data();
    s.arrays = {reinterpret_cast<StagedRow*>(base + places.staged),  reinterpret_cast<RowState*>(base + places.states),
                reinterpret_cast<Word*>(base + places.lists),        reinterpret_cast<Word*>(base + places.chunk_weights),
                reinterpret_cast<float*>(base + places.changed),     reinterpret_cast<Sampled*>(base + places.results),
                reinterpret_cast<std::int32_t*>(base + places.slots)};
}

void Sampler::State::stage_row(const SamplingRow& row, int of_vocab, std::int32_t slot) {
    StagedRow& to = staged.emplace_back(stage_parameters(row));
    to.slot = slot;
    if (!row.allowed.empty()) {
        const std::size_t words = (static_cast<std::size_t>(of_vocab) + 31) / 32;
        NARAE_CHECK(row.allowed.size() >= words, "the mask of allowed tokens has {} words for {} tokens", row.allowed.size(),
                    of_vocab);
        to.masked = true;
        to.allowed_at = append(lists, row.allowed.first(words));
    }
    touched.collect(row, of_vocab);
    to.touched = static_cast<std::uint32_t>(touched.tokens().size());
    to.touched_at = append(lists, touched.tokens());
    to.biases_at = append(lists, touched.biases());
}

void Sampler::stage(const Stream& stream, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots, int vocab) {
    NARAE_CHECK(rows.size() == slots.size(), "{} rows to sample for {} slots", rows.size(), slots.size());
    if (rows.empty()) return;
    for (const std::int32_t slot : slots) NARAE_CHECK(slot >= 0, "slot {}", slot);
    State& s = *state_;
    reserve(stream, static_cast<int>(rows.size()), 1 + *std::ranges::max_element(slots), vocab);
    s.staged.clear();
    s.lists.clear();
    s.row_of_slot.resize(static_cast<std::size_t>(s.max_slots));
    for (std::size_t i = 0; i < rows.size(); ++i) s.row_of_slot[static_cast<std::size_t>(slots[i])] = i;
    for (std::size_t i = 0; i < rows.size(); ++i)
        s.stage_row(rows[i], vocab, s.row_of_slot[static_cast<std::size_t>(slots[i])] == i ? slots[i] : -1);

    const std::size_t row_bytes = s.staged.size() * sizeof(StagedRow), list_bytes = s.lists.size();
    const bool together = list_bytes <= s.places.list_bytes;
    if (!together && list_bytes > s.more_lists.size())
        s.more_lists = DeviceMemory(stream, std::max(list_bytes, 2 * s.more_lists.size()));
    std::byte* const rows_at = s.arena.data() + s.places.staged;
    std::byte* const lists_at = together ? rows_at + row_bytes : s.more_lists.data();
    for (StagedRow& row : s.staged) row.lists = lists_at;

    State::Staging& staging = s.stagings[s.calls++ % s.stagings.size()];
    if (staging.used) staging.copied.synchronize();
    if (staging.memory.size() < row_bytes + list_bytes)
        staging.memory = PinnedMemory(std::max(row_bytes + list_bytes, 2 * staging.memory.size()));
    std::memcpy(staging.memory.data(), s.staged.data(), row_bytes);
    if (list_bytes > 0) std::memcpy(staging.memory.data() + row_bytes, s.lists.data(), list_bytes);
    copy_to_device(stream, rows_at, staging.memory.data(), together ? row_bytes + list_bytes : row_bytes);
    if (!together) copy_to_device(stream, lists_at, staging.memory.data() + row_bytes, list_bytes);
    staging.copied.record(stream);
    staging.used = true;
}

void Sampler::launch(const Stream& stream, const float* logits, int rows, int vocab) {
    const State& s = *state_;
    if (rows == 0) return;
    NARAE_CHECK(rows <= s.max_rows && vocab <= s.vocab, "{} rows of {} logits, staged were at most {} of {}", rows, vocab,
                s.max_rows, s.vocab);
    launch_sampling(stream, s.arrays, logits, rows, vocab, chunk_of(stream, rows, vocab));
}

const Sampled* Sampler::results() const { return state_->arrays.results; }
std::int32_t* Sampler::slots() const { return state_->arrays.slots; }

}  // namespace narae::kernels::cuda
