// The matchers written by hand against the expressions that they stand for, run by PCRE2.
#include "text/tokenizer/split_patterns.h"

#include "base/error.h"
#include "text/random_text.h"
#include "text/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace narae::test {
namespace {

using Ranges = std::vector<std::pair<std::size_t, std::size_t>>;

class SplitPattern : public testing::TestWithParam<std::string_view> {};

TEST_P(SplitPattern, CutsAsItsExpression) {
    const PieceEnd next = find_split_pattern(GetParam());
    ASSERT_NE(next, nullptr);
    const Regex regex(GetParam(), "the pattern");
    RandomText random(7);
    for (int round = 0; round < 20000; ++round) {
        const std::string text = random(1 + random.below(24));
        Ranges expected, found;
        regex.for_each(text, [&](std::size_t begin, std::size_t end) { expected.emplace_back(begin, end); });
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = next(text, at);
            ASSERT_GT(end, at) << text;
            found.emplace_back(at, end);
            at = end;
        }
        ASSERT_EQ(found, expected) << text;
    }
}

INSTANTIATE_TEST_SUITE_P(Known, SplitPattern, testing::Values(kGpt2Regex, kLlama3Regex, kQwen2Regex, kQwen35Regex),
                         [](const auto& parameter) { return "pattern" + std::to_string(parameter.index); });

TEST(Regex, RefusesWhatItWouldReadDifferently) {
    EXPECT_THROW(Regex("[a[bc]]", "x"), BadFileError);
    EXPECT_THROW(Regex("[a-z&&[^b]]", "x"), BadFileError);
    EXPECT_THROW(Regex("(a", "x"), BadFileError);
    EXPECT_THROW(Regex(std::string(100, '(') + std::string(100, ')'), "x"), BadFileError);
    EXPECT_THROW(Regex(std::string(20000, 'a'), "x"), BadFileError);
    EXPECT_NO_THROW(Regex("[[:alpha:]\\[&]+", "x"));
}

TEST(Regex, GivesUpInsteadOfHanging) {
    const Regex regex("(a+)+[bc]", "x");
    const std::string text(200, 'a');
    EXPECT_THROW(regex.for_each(text, [](std::size_t, std::size_t) {}), ResourceError);
}

TEST(Regex, StepsOverEmptyMatches) {
    Ranges found;
    Regex("x*", "x").for_each("가xx나x", [&](std::size_t begin, std::size_t end) { found.emplace_back(begin, end); });
    EXPECT_EQ(found, (Ranges{{3, 5}, {8, 9}}));
}

}  // namespace
}  // namespace narae::test
