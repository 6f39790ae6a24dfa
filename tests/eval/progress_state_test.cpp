// The file that an evaluation goes on from.
#include "eval/progress_state.h"

#include "base/error.h"
#include "base/sha256.h"
#include "evaluation_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace narae::eval {
namespace {

ProgressState sample() {
    return {{{"subject", "perplexity"}, {"protocol", {{"window", 512}}}}, 2, {1.5, -0.0, 1e-310, std::acos(-1.0)}};
}

TEST(ProgressState, ThereAndBackToTheBit) {
    const test::ScratchFolder scratch;
    const Path path = scratch.path() / "state";
    EXPECT_FALSE(load_progress(path));
    for (ProgressState state : {sample(), ProgressState{Json::object(), 0, {}}}) {
        save_progress(path, state);
        const std::optional<ProgressState> found = load_progress(path);
        ASSERT_TRUE(found);
        EXPECT_EQ(found->identity, state.identity);
        EXPECT_EQ(found->windows, state.windows);
        EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(found->values)), std::as_bytes(std::span(state.values))));
    }
    EXPECT_EQ(file_system().list(scratch.path()).size(), 1u);
}

TEST(ProgressState, EveryTruncationAndEveryChangedValueIsRefused) {
    const test::ScratchFolder scratch;
    save_progress(scratch.path() / "state", sample());
    const std::string bytes = read_text_file(scratch.path() / "state");
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_THROW(parse_progress(bytes.substr(0, size), "state"), BadFileError) << size;
    for (std::size_t at = bytes.size() - 32; at < bytes.size(); ++at) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 1);
        EXPECT_THROW(parse_progress(damaged, "state"), BadFileError) << at;
    }
    EXPECT_THROW(parse_progress(bytes + "12345678", "state"), BadFileError);
}

TEST(ProgressState, AnotherRunIsRefusedWithWhatDiffers) {
    const Json before = {{"model_sha256", "aa"}, {"protocol", {{"window", 512}, {"name", "llama.cpp-512"}}}};
    Json now = before;
    EXPECT_NO_THROW(require_same_run(before, now, "state"));
    now["protocol"]["window"] = 256;
    now["base"] = "x";
    try {
        require_same_run(before, now, "state");
        FAIL();
    } catch (const UsageError& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("protocol/window was 512, now 256"));
        EXPECT_THAT(error.what(), testing::HasSubstr("base was null, now \"x\""));
        EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("llama.cpp")));
    }
}

TEST(ProgressState, AModelIsNamedByWhatItComputesWith) {
    ThreadPool one(1), two(2);
    const Checkpoint a = open_checkpoint(test::small_model_path());
    EXPECT_EQ(model_sha256(a, one), model_sha256(a, two));
    EXPECT_NE(model_sha256(a, one), model_sha256(open_checkpoint(test::data_file("models/llama-plain")), one));
    EXPECT_NE(model_sha256(open_checkpoint(test::data_file("models/llama-rope-linear")), one),
              model_sha256(open_checkpoint(test::data_file("models/llama-rope-yarn")), one));  // the same weights
}

}  // namespace
}  // namespace narae::eval
