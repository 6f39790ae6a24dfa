// Files that are wrong: each is refused with BadFileError and a message that says where.
#include "base/error.h"
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

namespace narae::test {
namespace {

using testing::HasSubstr;

std::string with_model(std::string_view model, std::string_view rest = "") {
    return fmt::format(R"({{"model": {}{}}})", model, rest);
}
std::string with_vocabulary(std::string_view vocabulary, std::string_view merges = "[]", std::string_view options = "") {
    return with_model(fmt::format(R"({{"type": "BPE", "vocab": {}, "merges": {}{}}})", vocabulary, merges, options));
}
std::string with_steps(std::string_view steps) {
    return with_model(R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})", fmt::format(", {}", steps));
}

void expect_refused(const std::string& json, std::string_view reason, std::string_view config = "") {
    try {
        Tokenizer::from_json(json, config, "the file");
        FAIL() << "accepted: " << json;
    } catch (const BadFileError& error) {
        EXPECT_THAT(error.what(), testing::AllOf(testing::StartsWith("the file"), HasSubstr(std::string(reason)))) << json;
    }
}

TEST(BadTokenizerJson, Documents) {
    expect_refused("", "not valid JSON");
    expect_refused("{", "not valid JSON");
    expect_refused("[]", "need an object");
    expect_refused("{}", "'model' is missing");
    expect_refused(R"({"model": 3})", "'model' is a JSON number");
    expect_refused(std::string(100000, '['), "not valid JSON");
    expect_refused("{\"model\": \"\xFF\"}", "not valid JSON");
}

TEST(BadTokenizerJson, Models) {
    expect_refused(with_model(R"({"type": "Unigram", "vocab": [["a", 0]]})"), "'Unigram', need BPE");
    expect_refused(with_model(R"({"vocab": [["a", 0]]})"), "'Unigram', need BPE");
    expect_refused(with_model(R"({"type": "WordPiece", "vocab": {}})"), "'WordPiece'");
    expect_refused(with_model(R"({"vocab": {}, "continuing_subword_prefix": "\u0023#"})"), "'WordPiece'");
    expect_refused(with_model(R"({"vocab": {}})"), "'WordLevel'");
    expect_refused(with_model(R"({"type": "BPE", "merges": []})"), "'vocab' is missing");
    expect_refused(with_model(R"({"type": "BPE", "vocab": {}})"), "'merges' is missing");
    expect_refused(with_vocabulary("{}", "[]", R"(, "dropout": 0.1)"), "dropout");
    expect_refused(with_vocabulary("{}", "[]", R"(, "end_of_word_suffix": "</w>")"), "end_of_word_suffix");
    expect_refused(with_vocabulary("{}", "[]", R"(, "byte_fallback": 1)"), "'byte_fallback' is a JSON number");
}

TEST(BadTokenizerJson, Vocabularies) {
    expect_refused(with_vocabulary("[]"), "'vocab' is a JSON array");
    expect_refused(with_vocabulary(R"({"a": "0"})"), "'a' is a JSON string, need an integer");
    expect_refused(with_vocabulary(R"({"a": 0.5})"), "need an integer");
    expect_refused(with_vocabulary(R"({"a": -1})"), "token id -1 is out of range");
    expect_refused(with_vocabulary(R"({"a": 2097152})"), "out of range");
    expect_refused(with_vocabulary(R"({"a": 9223372036854775808})"), "'a' is a JSON number");
    expect_refused(with_vocabulary(R"({"a": 0, "b": 0})"), "two tokens have the id 0");
    expect_refused(with_vocabulary(R"({"a": 0, "a": 1})"), "has two ids, 0 and 1");
}

TEST(BadTokenizerJson, Merges) {
    const std::string_view vocabulary = R"({"a": 0, "b": 1, "ab": 2})";
    expect_refused(with_vocabulary(vocabulary, "{}"), "'merges' is a JSON object");
    expect_refused(with_vocabulary(vocabulary, "[3]"), "'merges' is a JSON number");
    expect_refused(with_vocabulary(vocabulary, R"(["ab"])"), "need two tokens and one space");
    expect_refused(with_vocabulary(vocabulary, R"(["a b c"])"), "need two tokens and one space");
    expect_refused(with_vocabulary(vocabulary, R"([["a"]])"), "has 1 parts, need 2");
    expect_refused(with_vocabulary(vocabulary, R"([["a", 1]])"), "'merges' is a JSON number");
    expect_refused(with_vocabulary(vocabulary, R"(["a c"])"), "merge 0 has 'c', which is no token");
    expect_refused(with_vocabulary(vocabulary, R"(["a b", "b a"])"), "merge 1 joins 'b' and 'a', but 'ba' is no token");
    expect_refused(with_vocabulary(vocabulary, R"([" b"])"), "merge 0 has ''");
}

TEST(BadTokenizerJson, AddedTokens) {
    const auto added = [](std::string_view tokens) { return with_steps(fmt::format(R"("added_tokens": {})", tokens)); };
    expect_refused(added("{}"), "'added_tokens' is a JSON object");
    expect_refused(added("[1]"), "'added_tokens' is a JSON number");
    expect_refused(added(R"([{"id": 3}])"), "'content' is missing");
    expect_refused(added(R"([{"content": "<x>"}])"), "'id' is missing");
    expect_refused(added(R"([{"content": "<x>", "id": 0}])"), "two tokens have the id 0: 'a' and '<x>'");
    expect_refused(added(R"([{"content": "<x>", "id": -5}])"), "out of range");
    expect_refused(added(R"([{"content": "<x>", "id": 3}, {"content": "<x>", "id": 4}])"), "'<x>' comes twice");
    expect_refused(added(R"([{"content": "a", "id": 0}, {"content": "a", "id": 0}])"), "'a' comes twice");
    expect_refused(added(R"([{"content": "<x>", "id": 3, "special": "yes"}])"), "'special' is a JSON string");
    expect_refused(added(fmt::format(R"([{{"content": "{}", "id": 3}}])", std::string(1025, 'x'))), "has 1025 bytes");
}

TEST(BadTokenizerJson, Steps) {
    expect_refused(with_steps(R"("normalizer": "NFC")"), "a normalizer is a JSON string");
    expect_refused(with_steps(R"("normalizer": {})"), "lacks its string 'type'");
    expect_refused(with_steps(R"("normalizer": {"type": "Precompiled"})"), "'Precompiled' is not supported");
    expect_refused(with_steps(R"("normalizer": {"type": "Sequence"})"), "'normalizers'");
    expect_refused(with_steps(R"("normalizer": {"type": "Replace", "content": ""})"), "'pattern'");
    expect_refused(with_steps(R"("normalizer": {"type": "Prepend", "prepend": ")" + std::string(2000, 'x') + "\"}"),
                   "has 2000 bytes");
    expect_refused(with_steps(R"("pre_tokenizer": {"type": "Metaspace", "replacement": "ab"})"), "need one character");
    expect_refused(with_steps(R"("normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""})"),
                   "is wrong at byte");
    expect_refused(with_steps(R"("pre_tokenizer": {"type": "Nothing"})"), "'Nothing' is not supported");
    expect_refused(with_steps(R"("pre_tokenizer": {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"})"),
                   "empty");
    expect_refused(with_steps(R"("pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Lost"})"),
                   "'Lost'");
    expect_refused(with_steps(R"("pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "often"})"), "'often'");
    expect_refused(with_steps(R"("post_processor": {"type": "TemplateProcessing", "single": []})"), "leaves the text out");
    expect_refused(with_steps(R"("post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]})"),
                   "names 'x'");
    expect_refused(with_steps(R"("post_processor": {"type": "BertProcessing", "sep": ["x", 9], "cls": ["x", 0]})"), "no token");
    expect_refused(with_steps(R"("decoder": {"type": "CTC"})"), "'CTC' is not supported");
    expect_refused(with_steps(R"("decoder": {"type": "Strip", "content": "ab", "start": 1, "stop": 0})"), "need one character");
    expect_refused(with_steps(R"("decoder": {"type": "Strip", "content": "a", "start": -1, "stop": 0})"), "need 0 to");
    std::string nested = R"({"type": "NFC"})";
    for (int i = 0; i < 20; ++i) nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
    expect_refused(with_steps(R"("normalizer": )" + nested), "nested deeper");
}

TEST(BadTokenizerJson, Config) {
    const std::string good = with_steps(R"("normalizer": null)");
    expect_refused(good, "need an object", "[]");
    expect_refused(good, "", "{");
    expect_refused(good, "'eos_token'", R"({"eos_token": 3})");
    expect_refused(good, "need an id", R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})");
    expect_refused(good, "two tokens have the id", R"({"added_tokens_decoder": {"0": {"content": "<x>"}}})");
    expect_refused(good, "need objects", R"({"added_tokens_decoder": {"3": 1}})");
}

// No damage to a good file makes anything but BadFileError or a tokenizer that works.
TEST(BadTokenizerJson, DamagedAnywhere) {
    const std::string good = with_steps(R"("normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"}, "decoder":
        {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}]},
        "added_tokens": [{"content": "<x>", "id": 3, "special": true, "lstrip": true}])");
    const auto attempt = [](const std::string& json) {
        try {
            const Tokenizer tokenizer = Tokenizer::from_json(json, "", "the file");
            (void)tokenizer.decode(tokenizer.encode("ab <x> 가"));
            (void)tokenizer.to_tokenizer_json();
        } catch (const BadFileError&) {
        }
    };
    for (std::size_t length = 0; length < good.size(); ++length) attempt(good.substr(0, length));
    std::mt19937 random(1);
    for (int round = 0; round < 20000; ++round) {
        std::string bad = good;
        for (int flips = 0; flips < 2; ++flips) bad[random() % bad.size()] = static_cast<char>(random() % 256);
        attempt(bad);
    }
}

GgufVocabulary good_gguf() {
    GgufVocabulary vocabulary;
    vocabulary.model = "gpt2";
    vocabulary.pre = "gpt-2";
    vocabulary.tokens = {"a", "b", "ab", "<x>"};
    vocabulary.token_types = {1, 1, 1, 3};
    vocabulary.merges = {"a b"};
    return vocabulary;
}

template <class Damage>
void expect_gguf_refused(Damage&& damage, std::string_view reason) {
    GgufVocabulary vocabulary = good_gguf();
    damage(vocabulary);
    try {
        Tokenizer::from_gguf(vocabulary, "the file");
        FAIL() << "accepted: " << reason;
    } catch (const BadFileError& error) {
        EXPECT_THAT(error.what(), testing::AllOf(testing::StartsWith("the file"), HasSubstr(std::string(reason))));
    }
}

TEST(BadGgufVocabulary, IsRefused) {
    EXPECT_NO_THROW(Tokenizer::from_gguf(good_gguf(), "x"));
    expect_gguf_refused([](auto& v) { v.tokens.clear(); }, "0 tokens");
    expect_gguf_refused([](auto& v) { v.token_types.pop_back(); }, "token_type has 3 entries, need 4");
    expect_gguf_refused([](auto& v) { v.token_types[0] = 0; }, "has the type 0");
    expect_gguf_refused([](auto& v) { v.token_types[0] = 7; }, "has the type 7");
    expect_gguf_refused([](auto& v) { v.scores = {1}; }, "scores has 1 entries");
    expect_gguf_refused([](auto& v) { v.tokens[1] = "\xFF"; }, "token 1 is not valid UTF-8");
    expect_gguf_refused([](auto& v) { v.merges[0] = "ab"; }, "need two tokens and a space");
    expect_gguf_refused([](auto& v) { v.merges[0] = ""; }, "need two tokens and a space");
    expect_gguf_refused([](auto& v) { v.merges[0] = "a c"; }, "has 'c', which is no token");
    expect_gguf_refused([](auto& v) { v.merges[0] = "b a"; }, "'ba' is no token");
    expect_gguf_refused([](auto& v) { v.model = "bert"; }, "'bert', need gpt2 or llama");
    expect_gguf_refused([](auto& v) { v.pre = "unheard-of"; }, "'unheard-of', which is not supported");
    expect_gguf_refused([](auto& v) { v.bos = 4; }, "bos_token_id is 4");
    expect_gguf_refused([](auto& v) { v.eos = -1; }, "eos_token_id is -1");
    expect_gguf_refused([](auto& v) { v.model = "llama"; }, "scores is missing");
    expect_gguf_refused(
        [](auto& v) {
            v.model = "llama";
            v.scores.assign(4, std::numeric_limits<float>::quiet_NaN());
        },
        "not a number");
}

// Texts that look like byte tokens but are none must stay texts: "<0x-1>" once wrote outside a table elsewhere.
TEST(BadGgufVocabulary, ByteTokensAreReadStrictly) {
    GgufVocabulary vocabulary;
    vocabulary.model = "llama";
    vocabulary.tokens = {"<unk>", "<0x-1>", "<0x+A>", "<0x0G>", "<0x100>", "<0x 1>", "<0x41>", "x"};
    vocabulary.token_types = {2, 6, 6, 6, 6, 6, 6, 1};
    vocabulary.scores.assign(vocabulary.tokens.size(), 0);
    vocabulary.unknown = 0;
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary, "x");
    EXPECT_EQ(tokenizer.token_bytes(1), "<0x-1>");
    EXPECT_EQ(tokenizer.token_bytes(2), "<0x+A>");
    EXPECT_EQ(tokenizer.token_bytes(6), "A");
    EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{7, 1, 6}), "x<0x-1>A");
}

}  // namespace
}  // namespace narae::test
