// Sequences that advance together by equal numbers of tokens, without requests, scheduling or sampling: what timing needs.
// One thread uses it.
#pragma once

#include "model/model.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace narae::bench {

class Lockstep {
public:
    // UsageError: more sequences than the model's limits. The model must outlive it.
    Lockstep(Model& model, int sequences);
    ~Lockstep();
    Lockstep(const Lockstep&) = delete;
    Lockstep& operator=(const Lockstep&) = delete;

    int sequences() const { return sequences_; }
    // Tokens that each sequence holds.
    int length() const { return length_; }
    // Forgets what comes after the first `length` tokens of each.
    void truncate(int length);

    // Computes one step. ids: [sequences, tokens], within the vocabulary; sequences x tokens <= max_rows and the sequences stay
    // within the context (checked promises). Logits are computed for the last `logit_rows` tokens of each sequence, and stay
    // where they are.
    void forward(std::span<const std::int32_t> ids, int logit_rows);

    std::int64_t kv_bytes() const;  // memory behind the KV cache now

private:
    kernels::Batch fill(std::span<const std::int32_t> ids, int tokens, int logit_rows);

    Model& model_;
    int sequences_, length_ = 0;
    std::vector<std::unique_ptr<kernels::KvStorage>> kv_;  // by layer group
};

}  // namespace narae::bench
