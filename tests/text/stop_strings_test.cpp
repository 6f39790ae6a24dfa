#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace narae::test {
namespace {

struct Cut {
    std::string text;
    std::optional<std::string> found;
};

// The definition, literally: the shortest beginning of the text that ends with a stop string; the longest such string.
Cut cut_by_definition(const std::string& text, const std::vector<std::string>& strings) {
    for (std::size_t end = 0; end <= text.size(); ++end) {
        const std::string* longest = nullptr;
        for (const std::string& string : strings)
            if (!string.empty() && text.substr(0, end).ends_with(string) && (!longest || string.size() > longest->size()))
                longest = &string;
        if (longest) return {text.substr(0, end - longest->size()), *longest};
    }
    return {text, std::nullopt};
}

TEST(StopStrings, CutsAcrossTokens) {
    StopStrings stop({"</s>", "\n\nUser:"});
    EXPECT_EQ(stop.push("안녕<"), "안녕");
    EXPECT_EQ(stop.push("/"), "");
    EXPECT_EQ(stop.push("b></"), "</b>");
    EXPECT_EQ(stop.push("s> more"), "");
    EXPECT_EQ(stop.found(), "</s>");
    EXPECT_EQ(stop.push("x"), "");
    EXPECT_EQ(stop.finish(), "");
}

TEST(StopStrings, GivesBackWhatWasHeldAtTheEnd) {
    StopStrings stop({"END"});
    EXPECT_EQ(stop.push("the EN"), "the ");
    EXPECT_EQ(stop.finish(), "EN");
    EXPECT_FALSE(stop.found());
}

TEST(StopStrings, WithoutStringsHoldsNothing) {
    StopStrings none, empty({""});
    EXPECT_EQ(none.push("abc"), "abc");
    EXPECT_EQ(empty.push("abc"), "abc");
}

TEST(StopStrings, EqualsTheDefinition) {
    std::mt19937 random(3);
    const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
    const auto letters = [&](std::size_t length) {
        std::string text;
        while (length-- > 0) text += "ab"[below(2)];
        return text;
    };
    for (int round = 0; round < 100000; ++round) {
        std::vector<std::string> strings;
        for (std::size_t count = below(4); count-- > 0;) strings.push_back(letters(below(6)));
        const std::string text = letters(below(20));
        StopStrings stop(strings);
        std::string out;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t length = std::min(text.size() - at, below(5));
            out += stop.push(text.substr(at, length));
            // What came out can never be taken back.
            ASSERT_TRUE(cut_by_definition(text, strings).text.starts_with(out)) << text;
            at += length;
        }
        out += stop.finish();
        const Cut expected = cut_by_definition(text, strings);
        ASSERT_EQ(out, expected.text) << text;
        ASSERT_EQ(stop.found(), expected.found) << text;
    }
}

// Nothing is held back that no stop string can still reach.
TEST(StopStrings, HoldsBackOnlyAnOpenMatch) {
    StopStrings stop({"aab"});
    EXPECT_EQ(stop.push("aaaa"), "aa");
    EXPECT_EQ(stop.push("c"), "aac");
}

}  // namespace
}  // namespace narae::test
