#include "base/json.h"

#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace narae {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refusal(std::string_view text) {
    try {
        parse_json(text, "config.json");
    } catch (const BadFileError& error) {
        return error.what();
    }
    return "(accepted)";
}

TEST(ParseJson, KeepsTheOrderOfKeysAndEveryKindOfValue) {
    const std::string text = R"({"z":1,"a":[true,false,null,-2,1.5,18446744073709551615],"m":{"k":"v"},"e":{},"f":[]})";
    EXPECT_EQ(dump_json(parse_json(text, "t")), text);
    EXPECT_EQ(parse_json("  3 ", "t"), Json(3));
    EXPECT_EQ(parse_json(R"("\uD83D\uDE00 \u00e9")", "t"), Json("😀 é"));
}

TEST(ParseJson, NamesTheDocumentTheLineAndTheColumn) {
    EXPECT_THAT(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}"),
                AllOf(StartsWith("config.json: line 3, column 7: "), HasSubstr("':'")));
    EXPECT_THAT(refusal("nan"), StartsWith("config.json: line 1, column 2: "));
    EXPECT_THAT(refusal(""), StartsWith("config.json: line 1, column 1: "));
    EXPECT_THAT(refusal({}), StartsWith("config.json: line 1, column 1: "));
    EXPECT_THAT(refusal("[1,2"), HasSubstr("end of input"));
    EXPECT_THAT(refusal("{} {}"), HasSubstr("end of input"));
}

TEST(ParseJson, RefusesWhatOtherReadersReadDifferently) {
    for (const char* text :
         {"[1,]",        "{\"a\":1,}", "// c\n1", "'a'",         "{a:1}",       "[NaN]",         "[Infinity]",
          "[-Infinity]", "+1",         "01",      ".5",          "1.",          "0x10",          "\"\t\"",
          "\"\\x\"",     "[1 2]",      "tru",     "\"\\ud800\"", "\"\\udc00\"", "\"unterminated"})
        EXPECT_THAT(refusal(text), StartsWith("config.json: line ")) << text;
}

TEST(ParseJson, RefusesInvalidUtf8) {
    for (const char* text :
         {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "{\"\x80\":1}"})
        EXPECT_THAT(refusal(text), HasSubstr("UTF-8")) << text;
}

TEST(ParseJson, RefusesDuplicateKeys) {
    EXPECT_THAT(refusal("{\"size\":1,\n\"size\":2}"),
                AllOf(StartsWith("config.json: line 2, column "), HasSubstr("\"size\" twice")));
    EXPECT_THAT(refusal(R"([{"x":{"a":1,"b":2,"\u0061":3}}])"), HasSubstr("\"a\" twice"));
    EXPECT_EQ(refusal(R"({"a":{"a":{"a":1}},"b":{"a":1}})"), "(accepted)");
}

TEST(ParseJson, ManyKeysTakeNoQuadraticTime) {
    std::string text = "{";
    for (int i = 0; i < 300'000; ++i) text += fmt::format("\"key{}\":{},", i, i);
    text += "\"last\":0}";
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(parse_json(text, "t").size(), 300'001u);
    // A search for every key would need 4.5e10 comparisons: minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(ParseJson, RefusesDeepNesting) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    EXPECT_EQ(refusal(nested(64)), "(accepted)");
    EXPECT_THAT(refusal(nested(65)), HasSubstr("nested deeper than 64 levels"));
    EXPECT_THAT(refusal(std::string(10'000'000, '[')), HasSubstr("nested deeper"));
    std::string objects;
    for (int i = 0; i < 65; ++i) objects += "{\"a\":";
    EXPECT_THAT(refusal(objects), HasSubstr("nested deeper"));
}

TEST(ParseJson, RefusesNumbersThatAreNotFinite) {
    EXPECT_THAT(refusal("[1e400]"), AllOf(StartsWith("config.json: line 1, column "), HasSubstr("1e400")));
    EXPECT_THAT(refusal("[-1e400]"), HasSubstr("1e400"));
    EXPECT_EQ(parse_json("1000000000000000019884624838656", "t").get<double>(), 1e30);
    EXPECT_EQ(parse_json("1e-400", "t").get<double>(), 0.0);
}

TEST(ParseJson, SurvivesEveryTruncationAndEveryByte) {
    const std::string text = R"({"a":[1,-2.5e3,"\u00e9\n",true,null],"b":{"c":"é"}})";
    for (std::size_t length = 0; length < text.size(); ++length)
        EXPECT_NE(refusal(std::string_view(text).substr(0, length)), "(accepted)") << length;
    for (std::size_t at = 0; at < text.size(); ++at) {
        for (int byte = 0; byte < 256; ++byte) {
            std::string changed = text;
            changed[at] = static_cast<char>(byte);
            refusal(changed);
        }
    }
}

template <class Get>
std::string getter_refusal(Get get) {
    try {
        get();
    } catch (const BadFileError& error) {
        return error.what();
    }
    return "(accepted)";
}

TEST(JsonMembers, AreReadByType) {
    const Json object = parse_json(
        R"({"i":-3,"f":8192.0,"d":0.5,"b":true,"s":"x","o":{"k":1},"a":[1],"n":null,"big":9223372036854775808,"half":1.5})",
        "t");
    EXPECT_EQ(get_int(object, "i", "t"), -3);
    EXPECT_EQ(get_int(object, "f", "t"), 8192);
    EXPECT_EQ(get_double(object, "i", "t"), -3.0);
    EXPECT_EQ(get_double(object, "d", "t"), 0.5);
    EXPECT_EQ(get_bool(object, "b", "t"), true);
    EXPECT_EQ(get_string(object, "s", "t"), "x");
    EXPECT_EQ(*get_object(object, "o", "t"), Json({{"k", 1}}));
    EXPECT_EQ(*get_array(object, "a", "t"), Json::array({1}));
    for (const char* key : {"n", "absent"}) {
        EXPECT_EQ(get_int(object, key, "t"), std::nullopt);
        EXPECT_EQ(get_double(object, key, "t"), std::nullopt);
        EXPECT_EQ(get_bool(object, key, "t"), std::nullopt);
        EXPECT_EQ(get_string(object, key, "t"), std::nullopt);
        EXPECT_EQ(get_object(object, key, "t"), nullptr);
        EXPECT_EQ(get_array(object, key, "t"), nullptr);
    }
    EXPECT_EQ(getter_refusal([&] { get_int(object, "half", "config.json"); }),
              "config.json: \"half\": found 1.5, need a whole number of at most 64 bits");
    EXPECT_THAT(getter_refusal([&] { get_int(object, "big", "t"); }), HasSubstr("9223372036854775808"));
    EXPECT_EQ(getter_refusal([&] { get_double(object, "s", "t"); }), "t: \"s\": found \"x\", need a number");
    EXPECT_EQ(getter_refusal([&] { get_bool(object, "i", "t"); }), "t: \"i\": found -3, need true or false");
    EXPECT_EQ(getter_refusal([&] { get_string(object, "a", "t"); }), "t: \"a\": found an array, need a string");
    EXPECT_EQ(getter_refusal([&] { get_object(object, "a", "t"); }), "t: \"a\": found an array, need an object");
    EXPECT_EQ(getter_refusal([&] { get_array(object, "o", "t"); }), "t: \"o\": found an object, need an array");
    EXPECT_EQ(getter_refusal([&] { get_int(Json::array(), "i", "t"); }), "t: found an array, need an object");
}

TEST(JsonMembers, WholeNumbersKeepTheirRange) {
    const Json object = parse_json(
        R"({"max":9223372036854775807,"min":-9223372036854775808,"over":9.3e18,"edge":-9223372036854775808.0})", "t");
    EXPECT_EQ(get_int(object, "max", "t"), INT64_MAX);
    EXPECT_EQ(get_int(object, "min", "t"), INT64_MIN);
    EXPECT_EQ(get_int(object, "edge", "t"), INT64_MIN);
    EXPECT_THROW(get_int(object, "over", "t"), BadFileError);
}

TEST(JsonMembers, ALongValueIsCutBetweenCharacters) {
    std::string text = "x";
    while (text.size() < 1000) text += "가";
    const Json object{{"k", text}};
    const std::string message = getter_refusal([&] { get_int(object, "k", "t"); });
    EXPECT_LT(message.size(), 140u);
    EXPECT_EQ(
        dump_json(Json(message)), "\"" +
                                      [&] {
                                          std::string escaped;
                                          for (const char c : message)
                                              escaped += c == '"' ? std::string("\\\"") : std::string(1, c);
                                          return escaped;
                                      }() +
                                      "\"")
        << "the message is valid UTF-8";
}

TEST(DumpJson, IsAlwaysValid) {
    EXPECT_EQ(dump_json(Json("a\xff"
                             "b")),
              "\"a\xEF\xBF\xBD"
              "b\"");
    EXPECT_EQ(dump_json(Json(std::numeric_limits<double>::infinity())), "null");
    EXPECT_EQ(dump_json(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

}  // namespace
}  // namespace narae
