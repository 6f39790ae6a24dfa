#include "text/unicode.h"

#include "text/random_text.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <chrono>
#include <cstdlib>
#include <string>

namespace narae::test {
namespace {

using namespace unicode;

TEST(Unicode, DecodesEveryCharacter) {
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        std::string text;
        append(text, c);
        const Decoded d = decode(text, 0);
        ASSERT_TRUE(d.code_point == c);
        ASSERT_EQ(d.length, text.size());
        ASSERT_TRUE(decode_before(text, text.size()).code_point == c);
        ASSERT_TRUE(is_valid(text));
    }
}

// Every sequence of up to three bytes, and of four with selected ones, against utf8proc's own judgement.
TEST(Unicode, JudgesBytesAsUtf8proc) {
    const auto judged = [](std::string_view text) {
        utf8proc_int32_t point = 0;
        const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
        const utf8proc_ssize_t length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size()), &point);
        return length == static_cast<utf8proc_ssize_t>(text.size());
    };
    const auto one_character = [](std::string_view text) { return is_valid(text) && decode(text, 0).length == text.size(); };
    std::string text;
    for (int a = 0x80; a < 0x100; ++a)
        for (int b = 0; b < 0x100; ++b) {
            text = {static_cast<char>(a), static_cast<char>(b)};
            ASSERT_EQ(one_character(text), judged(text));
            for (const int c : {0x00, 0x7F, 0x80, 0xBF, 0xC0}) {
                text = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)};
                ASSERT_EQ(one_character(text), judged(text));
                text += '\x80';
                ASSERT_EQ(one_character(text), judged(text));
            }
        }
}

TEST(Unicode, ReplacesMaximalInvalidParts) {
    // The examples of the Unicode standard, tables 3-8 to 3-11.
    EXPECT_EQ(replace_invalid("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT_EQ(replace_invalid("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT_EQ(replace_invalid("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
    EXPECT_EQ(replace_invalid("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT_EQ(replace_invalid("\uFFFD가"), "\uFFFD가");
    EXPECT_EQ(valid_prefix("abcdefghij\xFF"), 10u);
}

TEST(Unicode, FindsTheOpenEnd) {
    EXPECT_EQ(complete_prefix("a\xEA\xB0"), 1u);
    EXPECT_EQ(complete_prefix("a\xEA"), 1u);
    EXPECT_EQ(complete_prefix("가"), 3u);
    EXPECT_EQ(complete_prefix("\xF0\x9F\x98"), 0u);
    EXPECT_EQ(complete_prefix("\xED\xA0"), 2u);  // can become nothing valid
    EXPECT_EQ(complete_prefix("\x80\x80"), 2u);
    EXPECT_EQ(complete_prefix(""), 0u);
}

std::string normalized_by_utf8proc(const std::string& text, NormalForm form) {
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.c_str());
    utf8proc_uint8_t* out = nullptr;
    const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
    const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                                        (compatible ? UTF8PROC_COMPAT : 0));
    const utf8proc_ssize_t length = utf8proc_map(bytes, static_cast<utf8proc_ssize_t>(text.size()), &out, options);
    std::string normal(reinterpret_cast<const char*>(out), static_cast<std::size_t>(length));
    std::free(out);
    return normal;
}

TEST(Unicode, NormalizesAsUtf8proc) {
    RandomText random(11);
    for (int round = 0; round < 20000; ++round) {
        const std::string text = random(1 + random.below(20));
        for (const NormalForm form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd})
            ASSERT_EQ(normalize(text, form), normalized_by_utf8proc(text, form)) << text;
    }
}

TEST(Unicode, ComposesHangul) {
    EXPECT_EQ(normalize("\u1112\u1161\u11AB\u1100\u1173\u11AF", NormalForm::nfc), "한글");
    EXPECT_EQ(normalize("가\u11A8", NormalForm::nfc), "각");
    EXPECT_EQ(normalize("한", NormalForm::nfd), "\u1112\u1161\u11AB");
}

// utf8proc_map alone would need a quadratic number of steps here, minutes for this text.
TEST(Unicode, OrdersLongRunsOfMarksQuickly) {
    std::string text;
    for (std::size_t i = 0; i < 400000; ++i) text += i % 2 ? "\u0300" : "\u0323";  // above, below
    const auto begin = std::chrono::steady_clock::now();
    const std::string normal = normalize(text, NormalForm::nfc);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 10.0);
    EXPECT_EQ(normal.size(), text.size());
    EXPECT_EQ(normal.find("\u0300\u0323"), std::string::npos);
}

TEST(Unicode, LowersEachCharacter) { EXPECT_EQ(lowercase("AÉΣİK\u212A"), "aéσi\u0307kk"); }

TEST(Unicode, KnowsTheClassesThatTokenizersUse) {
    for (const char32_t c : {0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x200A, 0x2028, 0x202F, 0x205F, 0x3000})
        EXPECT_TRUE(is_whitespace(c)) << static_cast<unsigned>(c);
    for (const char32_t c : {0x1C, 0x180E, 0x200B, 0xFEFF}) EXPECT_FALSE(is_whitespace(c)) << static_cast<unsigned>(c);
    EXPECT_TRUE(is_number(0xBD) && is_number(0x2167) && is_number(0x663));
    EXPECT_TRUE(is_letter(0xAC00) && is_letter(0x1161) && !is_letter(0x301) && is_mark(0x301));
    EXPECT_TRUE(is_word('_') && is_word(0x203F) && !is_word('-') && !is_word(0xBD));
}

TEST(Unicode, MeasuresAndSteps) {
    EXPECT_EQ(display_width("abc"), 3);
    EXPECT_EQ(display_width("한글"), 4);
    EXPECT_EQ(display_width("e\u0301"), 1);
    EXPECT_EQ(display_width("🇰🇷"), 2);
    const std::string text = "a한e\u0301👨‍👩‍👧🇰🇷";
    std::vector<std::size_t> borders = {0};
    while (borders.back() < text.size()) borders.push_back(next_grapheme(text, borders.back()));
    EXPECT_EQ(borders.size(), 6u);
    for (std::size_t i = borders.size() - 1; i > 0; --i) EXPECT_EQ(previous_grapheme(text, borders[i]), borders[i - 1]);
    EXPECT_EQ(previous_grapheme(text, 0), 0u);
}

}  // namespace
}  // namespace narae::test
