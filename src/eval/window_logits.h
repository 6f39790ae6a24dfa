// The logits of windows of a text, many windows in one step: what perplexity and divergence are made of. Rows that do not count
// get no logits, and tokens after the last row that counts are not computed. On the CPU a row's logits do not depend on the
// other windows, the step's size or the number of windows at once.
#pragma once

#include "base/function_ref.h"
#include "eval/protocol.h"
#include "model/model.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace narae::eval {

// What is asked of a model for windows of at most `window` tokens: limits of its memory. rows, sequences: 0 chooses.
struct WindowLimits {
    int rows = 0;        // of one step
    int sequences = 0;   // windows at once
    int logit_rows = 0;  // of one step
};
// `logit_bytes`: most memory of one step's logits.
WindowLimits window_limits(int window, int vocab, int step_rows, int rows, int sequences,
                           std::int64_t logit_bytes = std::int64_t{256} << 20);

// Logits of rows that lie one after the other in a step.
struct LogitRows {
    struct Row {
        std::int64_t window = 0;  // index into the windows of the call
        int target = 0;           // the position in the window that the row predicts
    };
    std::span<const Row> rows;
    std::span<const float> logits;  // [rows, vocab], valid during the call
};

class WindowLogits {
public:
    // The model must outlive it.
    explicit WindowLogits(Model& model);
    ~WindowLogits();
    WindowLogits(const WindowLogits&) = delete;
    WindowLogits& operator=(const WindowLogits&) = delete;

    // Computes `windows` over `ids`, at most the model's max_sequences of them at once, and calls `rows` with the logits of
    // every target; targets of a window come in order. bos >= 0 replaces the first token of each window. UsageError: an id
    // outside the vocabulary, a window longer than the model's context.
    void run(std::span<const std::int32_t> ids, std::span<const Window> windows, std::int32_t bos,
             FunctionRef<void(const LogitRows&)> rows);

private:
    struct Sequence;
    void step(std::span<Sequence> open, std::span<const std::int32_t> ids, std::int32_t bos,
              FunctionRef<void(const LogitRows&)> rows);

    Model& model_;
    std::vector<std::unique_ptr<kernels::KvStorage>> kv_;  // by layer group
    std::vector<float> host_;                              // [max_logit_rows, vocab]
    std::vector<LogitRows::Row> rows_;
};

}  // namespace narae::eval
