#include "engine/engine.h"

#include "base/error.h"

#include <algorithm>

namespace narae {

using kernels::kBlockTokens;

struct Engine::Sequence {
    RequestId id = 0;
    Request request;
    std::vector<std::int32_t> tokens;               // prompt, then what was chosen
    std::int64_t computed = 0;                      // tokens whose keys and values are in the cache
    int slot = -1;                                  // while it runs
    std::vector<std::vector<std::int32_t>> blocks;  // by layer group
    bool last_in_slot = false;                      // the newest token is the one last sampled in `slot`
    bool cancelled = false;

    std::int64_t generated() const { return static_cast<std::int64_t>(tokens.size() - request.prompt.size()); }
};

std::string_view finish_reason_name(FinishReason reason) {
    switch (reason) {
        case FinishReason::none:
            return "";
        case FinishReason::stop:
            return "stop";
        case FinishReason::length:
            return "length";
        case FinishReason::cancelled:
            return "cancelled";
        case FinishReason::numeric_error:
            return "numeric_error";
    }
    return "";
}

namespace {

std::int64_t blocks_of(std::int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

// Blocks that a group may use: the byte limit shared by what one block costs in all groups, or what full sequences need.
std::int32_t pool_capacity(const kernels::ModelShape& shape, const kernels::Limits& limits) {
    const std::int64_t full = limits.max_sequences * blocks_of(limits.max_context);
    if (limits.kv_bytes <= 0) return static_cast<std::int32_t>(full);
    std::int64_t bytes = 0;
    for (const kernels::KvGroup& group : shape.groups) bytes += group.block_bytes();
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(limits.kv_bytes / std::max<std::int64_t>(bytes, 1), 1, full));
}

}  // namespace

Engine::Engine(Model& model) : model_(model) {
    for (const kernels::KvGroup& group : model.shape.groups) {
        kv_.push_back(model.backend->make_kv(group));
        pools_.emplace_back(pool_capacity(model.shape, model.limits));
    }
    for (int slot = model.limits.max_sequences; slot-- > 0;) free_slots_.push_back(slot);
}

Engine::~Engine() = default;

RequestId Engine::submit(Request request) {
    const kernels::Limits& limits = model_.limits;
    const int vocab = model_.config().vocab;
    if (request.prompt.empty()) throw_error<UsageError>("the prompt is empty; give at least one token");
    for (std::int32_t id : request.prompt)
        if (id < 0 || id >= vocab)
            throw_error<UsageError>("token id {} is outside the vocabulary, need 0 to {}", id, vocab - 1);
    if (request.max_tokens < 0) throw_error<UsageError>("max_tokens is {}, need 0 or more", request.max_tokens);
    kernels::validate(request.sampling, vocab);
    const auto length = static_cast<std::int64_t>(request.prompt.size());
    if (length >= limits.max_context)
        throw_error<UsageError>(
            "the prompt has {} tokens, but the context holds {} and one must be left for the answer; shorten it or raise "
            "--ctx-size",
            length, limits.max_context);
    const std::int64_t room = std::int64_t{pools_.front().capacity()} * kBlockTokens;
    const std::int64_t wanted = request.max_tokens > 0 ? length + request.max_tokens : length + 1;
    if (std::min<std::int64_t>(wanted, limits.max_context) > room)
        throw_error<UsageError>(
            "the request needs {} tokens of KV cache, but it holds {}; shorten it or raise the cache's limit", wanted, room);

    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_id_++;
    sequence->tokens = request.prompt;
    sequence->request = std::move(request);
    sequence->blocks.resize(kv_.size());
    waiting_.push_back(std::move(sequence));
    return waiting_.back()->id;
}

void Engine::cancel(RequestId id) {
    for (auto& sequence : waiting_)
        if (sequence->id == id) sequence->cancelled = true;
    for (auto& sequence : running_)
        if (sequence->id == id) sequence->cancelled = true;
}

bool Engine::idle() const { return waiting_.empty() && running_.empty(); }

void Engine::admit() {
    while (!waiting_.empty() && !free_slots_.empty()) {
        // A newcomer starts only where its first chunk fits without taking blocks from those who run.
        Sequence& next = *waiting_.front();
        const auto first = std::min<std::int64_t>(static_cast<std::int64_t>(next.tokens.size()), model_.limits.max_rows);
        const bool fits =
            std::all_of(pools_.begin(), pools_.end(), [&](const BlockPool& pool) { return pool.free() >= blocks_of(first); });
        if (!fits && !running_.empty()) return;
        next.slot = free_slots_.back();
        free_slots_.pop_back();
        running_.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
}

void Engine::release_blocks(Sequence& sequence) {
    for (std::size_t group = 0; group < pools_.size(); ++group) {
        for (std::int32_t block : sequence.blocks[group]) pools_[group].release(block);
        sequence.blocks[group].clear();
    }
}

// Gives back the blocks of the youngest other sequence, which will compute them again later.
bool Engine::preempt_for(const Sequence& sequence) {
    for (auto victim = running_.rbegin(); victim != running_.rend(); ++victim) {
        if (victim->get() == &sequence) return false;
        if ((*victim)->blocks.front().empty()) continue;
        release_blocks(**victim);
        (*victim)->computed = 0;
        (*victim)->last_in_slot = false;
        free_slots_.push_back((*victim)->slot);
        (*victim)->slot = -1;
        waiting_.push_front(std::move(*victim));
        running_.erase(std::next(victim).base());
        ++stats_.preemptions;
        return true;
    }
    return false;
}

bool Engine::ensure_blocks(Sequence& sequence, std::int64_t tokens) {
    for (std::size_t group = 0; group < pools_.size(); ++group) {
        while (static_cast<std::int64_t>(sequence.blocks[group].size()) < blocks_of(tokens)) {
            std::optional<std::int32_t> block = pools_[group].allocate();
            while (!block && preempt_for(sequence)) block = pools_[group].allocate();
            if (!block) return false;
            sequence.blocks[group].push_back(*block);
        }
    }
    return true;
}

// Which sequences compute how many rows: those that answer first (one row each), then prompts in the order of admission.
std::vector<std::pair<Engine::Sequence*, int>> Engine::schedule() {
    std::vector<std::pair<Sequence*, int>> work;
    int rows = model_.limits.max_rows;
    for (const bool answering : {true, false}) {
        for (std::size_t i = 0; i < running_.size() && rows > 0; ++i) {
            Sequence& sequence = *running_[i];
            const std::int64_t open = static_cast<std::int64_t>(sequence.tokens.size()) - sequence.computed;
            if ((open == 1) != answering) continue;
            const int take = static_cast<int>(std::min<std::int64_t>(open, rows));
            if (!ensure_blocks(sequence, sequence.computed + take)) continue;
            work.emplace_back(&sequence, take);
            rows -= take;
        }
    }
    // A sequence that was preempted for one scheduled after it no longer runs.
    std::erase_if(work, [](const auto& item) { return item.first->slot < 0; });
    return work;
}

kernels::Batch Engine::fill(std::span<const std::pair<Sequence*, int>> work, std::vector<Sequence*>& sampled) {
    const kernels::BatchBuffers& buffers = model_.workspace.batch;
    std::size_t row = 0, index = 0, logit_rows = 0;
    for (const auto& [sequence, take] : work) {
        buffers.row_begin[index] = static_cast<std::int32_t>(row);
        buffers.slots[index] = sequence->slot;
        for (std::size_t group = 0; group < kv_.size(); ++group) {
            const auto table = buffers.block_tables[group].subspan(index * static_cast<std::size_t>(buffers.table_stride));
            std::copy(sequence->blocks[group].begin(), sequence->blocks[group].end(), table.begin());
        }
        for (int i = 0; i < take; ++i, ++row) {
            const auto position = static_cast<std::size_t>(sequence->computed + i);
            const bool newest = position + 1 == sequence->tokens.size();
            buffers.ids[row] = newest && sequence->last_in_slot ? -1 - sequence->slot : sequence->tokens[position];
            buffers.positions[row] = static_cast<std::int32_t>(position);
            buffers.row_sequence[row] = static_cast<std::int32_t>(index);
            if (newest) {
                buffers.logit_rows[logit_rows++] = static_cast<std::int32_t>(row);
                sampled.push_back(sequence);
            }
        }
        ++index;
    }
    buffers.row_begin[index] = static_cast<std::int32_t>(row);

    return kernels::batch_of(buffers, row, index, logit_rows);
}

void Engine::retire(Sequence& sequence, FinishReason reason, std::int32_t token, std::vector<Event>& events) {
    events.push_back({sequence.id, token, reason});
    release_blocks(sequence);
    if (sequence.slot >= 0) free_slots_.push_back(sequence.slot);
    const auto same = [&](const std::unique_ptr<Sequence>& other) { return other.get() == &sequence; };
    if (const auto in = std::find_if(running_.begin(), running_.end(), same); in != running_.end())
        running_.erase(in);
    else
        waiting_.erase(std::find_if(waiting_.begin(), waiting_.end(), same));
}

void Engine::step(std::vector<Event>& events) {
    std::vector<Sequence*> cancelled;
    for (const auto& sequence : waiting_)
        if (sequence->cancelled) cancelled.push_back(sequence.get());
    for (const auto& sequence : running_)
        if (sequence->cancelled) cancelled.push_back(sequence.get());
    for (Sequence* sequence : cancelled) retire(*sequence, FinishReason::cancelled, -1, events);

    admit();
    const auto work = schedule();
    if (work.empty()) {
        NARAE_CHECK(running_.empty(), "{} sequences run but none can be computed", running_.size());
        return;
    }
    for (std::size_t group = 0; group < kv_.size(); ++group) kv_[group]->reserve_blocks(pools_[group].high_water());

    std::vector<Sequence*> sampled;
    const kernels::Batch batch = fill(work, sampled);
    std::vector<kernels::SamplingRow> rows;
    std::vector<std::int32_t> slots;
    for (const Sequence* sequence : sampled) {
        const std::span<const std::int32_t> tokens(sequence->tokens);
        const std::size_t prompt = sequence->request.prompt.size();
        rows.push_back({&sequence->request.sampling,
                        static_cast<std::int64_t>(tokens.size()),
                        tokens.first(prompt),
                        tokens.subspan(prompt),
                        {}});
        slots.push_back(sequence->slot);
    }

    kernels::Backend& backend = *model_.backend;
    const kernels::StepKey key =
        (static_cast<std::uint64_t>(batch.rows) << 40) ^ (static_cast<std::uint64_t>(batch.sequences) << 20) ^ sampled.size();
    const kernels::Ticket ticket = backend.step(key, [&] {
        model_.decoder.forward(backend, batch, kv_, model_.workspace);
        if (!sampled.empty()) backend.sample(model_.workspace.logits, rows, slots);
    });
    const std::span<const kernels::Sampled> chosen = backend.wait(ticket);

    ++stats_.steps;
    stats_.kv_bytes = 0;
    for (const auto& storage : kv_) stats_.kv_bytes += storage->reserved_blocks() * storage->group().block_bytes();
    for (const auto& [sequence, take] : work) {
        const auto prompt = static_cast<std::int64_t>(sequence->request.prompt.size());
        stats_.prompt_tokens += std::max<std::int64_t>(0, std::min(sequence->computed + take, prompt) - sequence->computed);
        sequence->computed += take;
    }
    for (std::size_t i = 0; i < sampled.size(); ++i) {
        Sequence& sequence = *sampled[i];
        if (!chosen[i].finite) {
            retire(sequence, FinishReason::numeric_error, -1, events);
            continue;
        }
        const std::int32_t token = chosen[i].id;
        sequence.tokens.push_back(token);
        sequence.last_in_slot = true;
        ++stats_.generated_tokens;
        const Request& request = sequence.request;
        const bool ended =
            !request.ignore_end && std::find(request.end_ids.begin(), request.end_ids.end(), token) != request.end_ids.end();
        const bool full = (request.max_tokens > 0 && sequence.generated() >= request.max_tokens) ||
                          static_cast<std::int64_t>(sequence.tokens.size()) >= model_.limits.max_context;
        if (ended || full)
            retire(sequence, ended ? FinishReason::stop : FinishReason::length, token, events);
        else
            events.push_back({sequence.id, token, FinishReason::none});
    }
}

void Engine::check_integrity() const {
    for (std::size_t group = 0; group < pools_.size(); ++group) {
        std::int32_t held = 0;
        for (const auto& sequence : running_) held += static_cast<std::int32_t>(sequence->blocks[group].size());
        for (const auto& sequence : waiting_) NARAE_CHECK(sequence->blocks[group].empty(), "a waiting sequence holds blocks");
        NARAE_CHECK(held == pools_[group].used(), "group {}: {} blocks held, {} used", group, held, pools_[group].used());
    }
}

}  // namespace narae
