// The engine: continuous batching of requests over one model. Every step computes one ragged batch: a row for each sequence
// that is answering, and chunks of the prompts of others as far as max_rows allows. One thread owns it.
//
// A sequence's tokens do not depend on who shares its batch: on the CPU its logits are bit-equal alone or in company, and its
// random numbers depend on its seed and the position only.
#pragma once

#include "engine/block_pool.h"
#include "engine/request.h"
#include "model/model.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

namespace narae {

struct EngineStats {
    std::int64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, preemptions = 0;
    std::int64_t kv_bytes = 0;  // memory behind the block pools
};

class Engine {
public:
    explicit Engine(Model& model);  // which must outlive it
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Queues a request. UsageError: no prompt, an id outside the vocabulary, a prompt that leaves no room in the context, one
    // that can never fit into the KV cache, parameters out of range.
    RequestId submit(Request request);
    // Forgets a request; an Event with FinishReason::cancelled follows in the next step.
    void cancel(RequestId id);
    bool idle() const;

    // One step: appends what happened. When nothing can be computed it only reports cancellations.
    void step(std::vector<Event>& events);

    const EngineStats& stats() const { return stats_; }
    // Checks that every block is either free or held by the sequences' tables; for tests and idle time.
    void check_integrity() const;

private:
    struct Sequence;
    void admit();
    bool ensure_blocks(Sequence& sequence, std::int64_t tokens);
    bool preempt_for(const Sequence& sequence);
    void release_blocks(Sequence& sequence);
    void retire(Sequence& sequence, FinishReason reason, std::int32_t token, std::vector<Event>& events);
    std::vector<std::pair<Sequence*, int>> schedule();
    kernels::Batch fill(std::span<const std::pair<Sequence*, int>> work, std::vector<Sequence*>& sampled);

    Model& model_;
    std::vector<std::unique_ptr<kernels::KvStorage>> kv_;  // by layer group
    std::vector<BlockPool> pools_;                         // by layer group
    std::deque<std::unique_ptr<Sequence>> waiting_;
    std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
    std::vector<std::int32_t> free_slots_;
    RequestId next_id_ = 1;
    EngineStats stats_;
};

}  // namespace narae
