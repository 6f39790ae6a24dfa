// How fast a loaded model computes, as llama-bench defines it: random tokens through the decoder, neither tokenizing nor
// sampling, logits where a server would need them; a run of the same work first that is not timed.
#pragma once

#include "base/function_ref.h"
#include "model/model.h"

#include <string>
#include <vector>

namespace narae::bench {

// Either `prompt` tokens of each sequence at once (in steps of at most the model's max_rows rows, logits after the last token
// of a step), or `generate` tokens one after the other with logits for each; after `depth` tokens that are not timed.
struct SpeedTest {
    int prompt = 0, generate = 0;  // one of them is 0
    int depth = 0;
    int sequences = 1;  // that advance together

    int tokens() const { return (prompt + generate) * sequences; }
    int context() const { return depth + prompt + generate; }
    std::string name() const;  // "pp512", "tg128", "tg128 x 8", "tg128 @ d512"
};

// What all tests together ask of a model.
kernels::Limits limits_for(std::span<const SpeedTest> tests, int max_rows);

struct SpeedResult {
    SpeedTest test;
    std::vector<double> seconds;  // of each repetition
    std::vector<double> tokens_per_second;
    double bytes = 0.0;         // weights and KV cache read in one repetition
    double operations = 0.0;    // multiplications and additions of products and attention in one repetition
    std::int64_t kv_bytes = 0;  // memory behind the KV cache

    double median_tokens_per_second() const;
    double median_bytes_per_second() const;
    double median_operations_per_second() const;
};

// `go_on` is asked before every repetition and may end the measurement early (a signal); at least one repetition is complete
// otherwise. UsageError: the test needs more than the model's limits.
SpeedResult measure_speed(Model& model, const SpeedTest& test, int repetitions, FunctionRef<bool()> go_on);

}  // namespace narae::bench
