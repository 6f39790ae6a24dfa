#include "bench/speed.h"

#include "base/clock.h"
#include "base/error.h"
#include "bench/lockstep.h"
#include "bench/statistics.h"

#include <algorithm>
#include <random>

namespace narae::bench {
namespace {

// Products of one token: every weight matrix but the head and the tables of which rows are looked up.
std::uint64_t layer_parameters(const Decoder& decoder) {
    std::uint64_t count = 0;
    for (const DecoderLayer& layer : decoder.layers)
        for (const kernels::Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
            count += static_cast<std::uint64_t>(linear->weight->out * linear->weight->in);
    return count;
}

std::uint64_t read_weight_bytes(const Decoder& decoder) {
    std::uint64_t bytes = decoder.head.weight->bytes;
    for (const DecoderLayer& layer : decoder.layers)
        for (const kernels::Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
            bytes += linear->weight->bytes;
    return bytes;
}

std::int64_t kv_bytes_per_token(const Model& model) {
    std::int64_t bytes = 0;
    for (const kernels::KvGroup& group : model.shape.groups) bytes += group.block_bytes() / kernels::kBlockTokens;
    return bytes;
}

class SpeedRun {
public:
    SpeedRun(Model& model, const SpeedTest& test)
        : model_(model), test_(test), sequences_(model, test.sequences), random_(20240229) {
        advance(test.depth, false);
    }

    // The test's work; repeated calls do the same work again.
    void run() {
        sequences_.truncate(test_.depth);
        bytes_ = operations_ = 0.0;
        advance(test_.prompt, true);
        for (int i = 0; i < test_.generate; ++i) step(1, 1);
    }
    double bytes() const { return bytes_; }
    double operations() const { return operations_; }
    std::int64_t kv_bytes() const { return sequences_.kv_bytes(); }

private:
    // `tokens` tokens of each sequence in the largest steps that the model takes.
    void advance(int tokens, bool with_logits) {
        const int largest = std::max(1, model_.limits.max_rows / test_.sequences);
        for (int left = tokens; left > 0; left -= std::min(left, largest)) step(std::min(left, largest), with_logits ? 1 : 0);
    }

    void step(int tokens, int logit_rows) {
        std::uniform_int_distribution<std::int32_t> any_token(0, model_.config().vocab - 1);
        ids_.resize(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(test_.sequences));
        for (std::int32_t& id : ids_) id = any_token(random_);
        const double before = sequences_.length();
        sequences_.forward(ids_, logit_rows);

        const ModelConfig& c = model_.config();
        const double rows = static_cast<double>(ids_.size()), logits = static_cast<double>(logit_rows * test_.sequences);
        const double head = static_cast<double>(model_.decoder.head.weight->out * model_.decoder.head.weight->in);
        // Token t of the step sees before + t + 1 positions; scores and sums of values are 2 x heads x head_dim products each.
        const double positions = rows * (before + (tokens + 1) / 2.0);
        operations_ += 2.0 * (rows * static_cast<double>(layer_parameters(model_.decoder)) + logits * head);
        operations_ += 4.0 * positions * c.layers * c.heads * c.head_dim;
        bytes_ += static_cast<double>(read_weight_bytes(model_.decoder)) -
                  (logit_rows == 0 ? static_cast<double>(model_.decoder.head.weight->bytes) : 0.0);
        bytes_ += static_cast<double>(kv_bytes_per_token(model_)) * (before + tokens) * test_.sequences;
    }

    Model& model_;
    SpeedTest test_;
    Lockstep sequences_;
    std::mt19937 random_;
    std::vector<std::int32_t> ids_;
    double bytes_ = 0.0, operations_ = 0.0;
};

}  // namespace

std::string SpeedTest::name() const {
    std::string name = prompt > 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generate);
    if (sequences > 1) name += fmt::format(" x {}", sequences);
    if (depth > 0) name += fmt::format(" @ d{}", depth);
    return name;
}

kernels::Limits limits_for(std::span<const SpeedTest> tests, int max_rows) {
    kernels::Limits limits;
    limits.max_rows = max_rows;
    limits.max_context = 0;
    int longest_step = 1;
    for (const SpeedTest& test : tests) {
        limits.max_context = std::max(limits.max_context, test.context());
        limits.max_sequences = std::max(limits.max_sequences, test.sequences);
        longest_step = std::max(longest_step, std::max(test.prompt, std::max(test.depth, 1)) * test.sequences);
    }
    limits.max_rows = std::max(limits.max_sequences, std::min(max_rows, longest_step));
    limits.max_logit_rows = limits.max_sequences;
    return limits;
}

double SpeedResult::median_tokens_per_second() const { return median(tokens_per_second); }
double SpeedResult::median_bytes_per_second() const { return bytes / median(seconds); }
double SpeedResult::median_operations_per_second() const { return operations / median(seconds); }

SpeedResult measure_speed(Model& model, const SpeedTest& test, int repetitions, FunctionRef<bool()> go_on) {
    if (test.tokens() < 1 || (test.prompt > 0 && test.generate > 0) || test.depth < 0)
        throw_error<UsageError>("{} prompt and {} generated tokens: a test needs one of them", test.prompt, test.generate);
    if (test.context() > model.limits.max_context)
        throw_error<UsageError>("{}: needs a context of {}, the model was loaded with {}", test.name(), test.context(),
                                model.limits.max_context);
    SpeedRun run(model, test);
    SpeedResult result;
    result.test = test;
    run.run();
    for (int i = 0; i < repetitions && go_on(); ++i) {
        const double start = monotonic_seconds();
        run.run();
        const double seconds = std::max(monotonic_seconds() - start, 1e-9);
        result.seconds.push_back(seconds);
        result.tokens_per_second.push_back(test.tokens() / seconds);
    }
    result.bytes = run.bytes();
    result.operations = run.operations();
    result.kv_bytes = run.kv_bytes();
    return result;
}

}  // namespace narae::bench
