// Choosing tokens on the card: the same tokens as sample_token() for the same logits, parameters and seed (kernels/sampling.h
// is the definition, bit for bit).
#pragma once

#include "kernels/cuda/runtime.h"
#include "kernels/sampling.h"

#include <cstdint>
#include <memory>
#include <span>

namespace narae::kernels::cuda {

// Not copyable; one thread. Its device and pinned memory is made once by reserve() (or grows when a call needs more, which a
// test may do; a run that reserved never allocates again).
class Sampler {
public:
    Sampler();
    ~Sampler();
    void reserve(const Stream& stream, int max_rows, int max_slots, int vocab);
    static std::size_t device_bytes(int max_rows, int max_slots, int vocab);

    // Puts what the rows need (parameters, history, masks) into the next of several staging buffers and copies it to the card.
    // Called before every launch or replay; asynchronous, waits only for the copy made four calls ago.
    void stage(const Stream& stream, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots, int vocab);
    // Chooses for `rows` rows of logits [rows, vocab] float32 on the card: results() and the slots get the tokens. What it
    // launches depends only on rows and vocab, so that a recording may be replayed after another stage() of as many rows.
    void launch(const Stream& stream, const float* logits, int rows, int vocab);

    const Sampled* results() const;  // [rows], on the card
    std::int32_t* slots() const;     // [max_slots], on the card: the token last sampled in each

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace narae::kernels::cuda
