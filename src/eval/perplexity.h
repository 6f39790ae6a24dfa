// Perplexity of a model on a text, by a protocol. The result is computed from each token's negative log-likelihood in the order
// of the tokens, in double: on the CPU it does not depend on the batching, and a run that goes on from saved values ends with
// the same bits.
#pragma once

#include "base/function_ref.h"
#include "base/threads.h"
#include "eval/statistics.h"
#include "eval/vocabulary_sums.h"
#include "eval/window_logits.h"

#include <cstdint>
#include <span>
#include <vector>

namespace narae::eval {

struct Perplexity {
    std::int64_t windows = 0, tokens = 0;  // tokens that count
    Estimate nll;                          // per token, in nats: the protocol's mean, and the error over the tokens
    Estimate perplexity;                   // exp of it
};
// From the values of all targets of the first windows, in order.
Perplexity perplexity_of(std::span<const Window> windows, std::span<const double> nll);

// Called with every row of logits that counts, in the order of the targets.
using RowSink = FunctionRef<void(std::span<const float> logits, const RowSums& sums, std::int32_t target)>;

// Appends the values of the windows' targets to `nll`. bos >= 0 replaces the first token of every window.
void score_windows(WindowLogits& logits, ThreadPool& threads, std::span<const std::int32_t> ids,
                   std::span<const Window> windows, std::int32_t bos, std::vector<double>& nll, const RowSink* sink = nullptr);

}  // namespace narae::eval
