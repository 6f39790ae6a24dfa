// Which tokens count: windows of each protocol, held against what the original programs' loops give.
#include "eval/protocol.h"

#include "base/error.h"

#include <gtest/gtest.h>

namespace narae::eval {
namespace {

using Counts = std::vector<std::array<std::int64_t, 3>>;  // begin, length, first target

Counts counts(const std::vector<Window>& windows) {
    Counts result;
    for (const Window& w : windows) result.push_back({w.begin, w.length, w.first_target});
    return result;
}

TEST(Protocol, GptqDropsTheRestAndWeighsWholeWindows) {
    const ProtocolSettings s = protocol_settings(Protocol::gptq_2048, 10, 0, 128, true);
    const std::vector<Window> windows = cut_windows(s, 39, 0);
    EXPECT_EQ(counts(windows), (Counts{{0, 10, 1}, {10, 10, 1}, {20, 10, 1}}));
    for (const Window& w : windows) EXPECT_EQ(w.weight, 10.0);
    EXPECT_EQ(s.rows, Rows::lines);
    EXPECT_TRUE(s.parse_special);
    EXPECT_FALSE(s.bos_in_each_window);
    EXPECT_EQ(protocol_settings(Protocol::gptq_2048, 0, 0, 128, true).window, 2048);
}

TEST(Protocol, LlamaCppCountsPredictionsOfTheSecondHalf) {
    const ProtocolSettings s = protocol_settings(Protocol::llamacpp_512, 0, 0, 128, true);
    EXPECT_EQ(s.window, 512);
    EXPECT_TRUE(s.bos_in_each_window);
    EXPECT_FALSE(protocol_settings(Protocol::llamacpp_512, 0, 0, 128, false).bos_in_each_window);
    const std::vector<Window> windows = cut_windows(s, 1535, 0);
    EXPECT_EQ(counts(windows), (Counts{{0, 512, 257}, {512, 512, 257}}));
    EXPECT_EQ(windows[0].targets(), 255);  // n_ctx - 1 - n_ctx / 2
    EXPECT_EQ(windows[0].weight, 255.0);
    // An odd window: positions from 3 on of 7 predict 4, 5, 6.
    EXPECT_EQ(counts(cut_windows(protocol_settings(Protocol::llamacpp_512, 7, 0, 128, true), 7, 0)), (Counts{{0, 7, 4}}));
}

// The loop of transformers' documentation, as it is written there.
TEST(Protocol, StridedIsTheRecipe) {
    for (const int stride : {1, 3, 7, 10}) {
        for (const int tokens : {2, 9, 10, 11, 13, 17, 20, 21, 40, 41}) {
            const int max_length = 10;
            Counts expected;
            std::vector<double> weights;
            int seen = 0;
            for (int begin = 0; begin < tokens; begin += stride) {
                const int end = std::min(begin + max_length, tokens), fresh = end - seen, length = end - begin;
                // Labels are -100 before the last `fresh`; the first label of a window is lost by the shift. A window of one
                // token has no label at all: the recipe's mean of nothing is NaN, here it is left out.
                if (length > 1) {
                    expected.push_back({begin, length, std::max(1, length - fresh)});
                    weights.push_back(fresh - 1);
                }
                seen = end;
                if (end == tokens) break;
            }
            const std::vector<Window> windows =
                cut_windows(protocol_settings(Protocol::hf_strided, max_length, stride, 128, true), tokens, 0);
            EXPECT_EQ(counts(windows), expected) << stride << " " << tokens;
            for (std::size_t i = 0; i < windows.size(); ++i) EXPECT_EQ(windows[i].weight, weights[i]);
        }
    }
    EXPECT_EQ(protocol_settings(Protocol::hf_strided, 0, 0, 1024, false).window, 1024);
    EXPECT_EQ(protocol_settings(Protocol::hf_strided, 0, 0, 1024, false).stride, 512);
    EXPECT_EQ(protocol_settings(Protocol::hf_strided, 0, 0, 128, false).stride, 128);
}

TEST(Protocol, FirstChunks) {
    for (const Protocol protocol : {Protocol::gptq_2048, Protocol::llamacpp_512, Protocol::hf_strided}) {
        const ProtocolSettings s = protocol_settings(protocol, 8, 0, 128, false);
        const Counts all = counts(cut_windows(s, 100, 0)), some = counts(cut_windows(s, 100, 3));
        EXPECT_EQ(some, Counts(all.begin(), all.begin() + 3));
    }
}

TEST(Protocol, WhatCannotBeIsRefused) {
    EXPECT_THROW(protocol_settings(Protocol::llamacpp_512, 3, 0, 128, false), UsageError);
    EXPECT_THROW(protocol_settings(Protocol::gptq_2048, 1, 0, 128, false), UsageError);
    EXPECT_THROW(protocol_settings(Protocol::gptq_2048, 0, 512, 128, false), UsageError);
    EXPECT_THROW(protocol_settings(Protocol::hf_strided, 100, 101, 128, false), UsageError);
    EXPECT_THROW(cut_windows(protocol_settings(Protocol::gptq_2048, 10, 0, 128, false), 9, 0), UsageError);
    EXPECT_THROW(cut_windows(protocol_settings(Protocol::hf_strided, 10, 10, 128, false), 1, 0), UsageError);
}

TEST(Protocol, NamesGoBothWays) {
    for (const Protocol protocol : {Protocol::gptq_2048, Protocol::llamacpp_512, Protocol::hf_strided})
        EXPECT_EQ(find_protocol(protocol_name(protocol)), protocol);
    EXPECT_FALSE(find_protocol("gptq"));
}

TEST(Protocol, RowsAreJoinedAsInTheDataSet) {
    // `datasets` gives WikiText's lines " \n", " = Title = \n", " \n", " text \n" as "", " = Title = \n", "", " text \n".
    EXPECT_EQ(join_lines(" \n = Title = \n \n text \n"), "\n\n = Title = \n\n\n\n\n text \n");
    EXPECT_EQ(join_lines("one"), "one");
    EXPECT_EQ(join_lines("one\ntwo"), "one\n\n\ntwo");
    EXPECT_EQ(join_lines(""), "");
    EXPECT_EQ(join_lines("\n\n"), "\n\n");
}

}  // namespace
}  // namespace narae::eval
