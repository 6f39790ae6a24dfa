#include "bench/speed.h"
#include "bench/bandwidth.h"
#include "bench/lockstep.h"
#include "bench/statistics.h"

#include "base/error.h"
#include "engine/prompt_logits.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narae::bench {
namespace {

using testing::ElementsAreArray;

Model load_tiny(int context, int rows, int sequences, int logit_rows) {
    LoadOptions options;
    options.backend.device = "ref";
    options.activations = kernels::Activations::f32;
    options.context = context;
    options.max_rows = rows;
    options.max_sequences = sequences;
    options.max_logit_rows = logit_rows;
    return load_model(open_checkpoint(test::data_file("models/llama-gqa-tied")), options);
}

std::vector<float> last_logits(Model& model, int row) {
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    const float* const begin = model.workspace.logits.as<float>() + static_cast<std::size_t>(row) * vocab;
    return {begin, begin + vocab};
}

TEST(Statistics, Median) {
    EXPECT_EQ(median(std::vector<double>{3, 1, 2}), 2);
    EXPECT_EQ(median(std::vector<double>{4, 1, 3, 2}), 2.5);
    EXPECT_EQ(median(std::vector<double>{7}), 7);
}

// What is timed is what the model computes: sequences in lockstep give the logits of each alone.
TEST(Lockstep, GivesTheLogitsOfEachSequenceAlone) {
    const std::vector<std::int32_t> first = {5, 6, 7, 8, 9}, second = {300, 2, 44, 8, 1};
    std::vector<std::vector<float>> expected;
    for (const auto& ids : {first, second}) {
        Model model = load_tiny(5, 5, 1, 5);
        std::vector<float> last;
        prompt_logits(model, ids, 0, [&](std::int64_t, std::span<const float> row) { last.assign(row.begin(), row.end()); });
        expected.push_back(last);
    }
    Model model = load_tiny(128, 8, 2, 2);
    Lockstep sequences(model, 2);
    sequences.forward(std::vector<std::int32_t>{5, 6, 7, 8, 300, 2, 44, 8}, 0);
    sequences.forward(std::vector<std::int32_t>{99, 98}, 1);
    sequences.truncate(4);
    EXPECT_EQ(sequences.length(), 4);
    sequences.forward(std::vector<std::int32_t>{9, 1}, 1);
    EXPECT_THAT(last_logits(model, 0), ElementsAreArray(expected[0]));
    EXPECT_THAT(last_logits(model, 1), ElementsAreArray(expected[1]));
}

TEST(Speed, NamesAreLlamaBenchs) {
    EXPECT_EQ((SpeedTest{.prompt = 512}.name()), "pp512");
    EXPECT_EQ((SpeedTest{.generate = 128}.name()), "tg128");
    EXPECT_EQ((SpeedTest{.generate = 128, .depth = 512, .sequences = 8}.name()), "tg128 x 8 @ d512");
}

TEST(Speed, LimitsHoldTheLargestTest) {
    const std::vector<SpeedTest> tests = {{.prompt = 100}, {.generate = 20, .depth = 90, .sequences = 3}};
    const kernels::Limits limits = limits_for(tests, 512);
    EXPECT_EQ(limits.max_context, 110);
    EXPECT_EQ(limits.max_sequences, 3);
    EXPECT_EQ(limits.max_rows, 270);
    EXPECT_EQ(limits.max_logit_rows, 3);
    EXPECT_EQ(limits_for(tests, 64).max_rows, 64);
}

TEST(Speed, CountsTokensBytesAndOperations) {
    Model model = load_tiny(64, 16, 2, 2);
    const auto always = [] { return true; };
    const SpeedResult prefill = measure_speed(model, {.prompt = 32}, 3, always);
    ASSERT_EQ(prefill.seconds.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_DOUBLE_EQ(prefill.tokens_per_second[i], 32 / prefill.seconds[i]);
    // Two steps of 16 rows; both read the weights, the second also the first's keys and values, and each writes its own.
    const double weights = static_cast<double>(model.plan.weights), kv_token = 2 * 2 * 2 * 16 * 4;
    EXPECT_DOUBLE_EQ(prefill.bytes, 2 * weights + kv_token * (16 + 32));

    const SpeedResult decode = measure_speed(model, {.generate = 4, .depth = 10, .sequences = 2}, 2, always);
    EXPECT_EQ(decode.test.tokens(), 8);
    EXPECT_DOUBLE_EQ(decode.bytes, 4 * weights + kv_token * 2 * (11 + 12 + 13 + 14));
    // Products of 2 x 4 rows: layers (q, k, v, o, gate, up, down) and the head; attention over 11 to 14 positions.
    const double layers = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96), head = 320 * 64;
    EXPECT_DOUBLE_EQ(decode.operations, 2 * 8 * (layers + head) + 4.0 * 2 * (11 + 12 + 13 + 14) * 2 * 64);
}

TEST(Speed, StopsWhenAsked) {
    Model model = load_tiny(64, 16, 1, 1);
    int asked = 0;
    const SpeedResult result = measure_speed(model, {.generate = 1}, 10, [&] { return ++asked < 3; });
    EXPECT_EQ(result.seconds.size(), 2u);
}

TEST(Speed, RefusesMoreThanTheModelsContext) {
    Model model = load_tiny(16, 16, 1, 1);
    EXPECT_THROW(measure_speed(model, {.prompt = 17}, 1, [] { return true; }), UsageError);
    EXPECT_THROW(measure_speed(model, {}, 1, [] { return true; }), UsageError);
}

TEST(Bandwidth, IsMeasured) {
    const Bandwidth bandwidth = measure_read_bandwidth(2, std::uint64_t{8} << 20, 3);
    EXPECT_EQ(bandwidth.threads, 2);
    EXPECT_EQ(bandwidth.buffer_bytes, std::uint64_t{8} << 20);
    EXPECT_GT(bandwidth.median_bytes_per_second, 1e6);
    EXPECT_GE(bandwidth.bytes_per_second, bandwidth.median_bytes_per_second);
}

}  // namespace
}  // namespace narae::bench
