#include "text/detokenizer.h"

#include "text/random_text.h"
#include "text/tokenizer_goldens.h"
#include "text/unicode.h"

#include <algorithm>

namespace narae::test {
namespace {

constexpr const char* kNames[] = {"gpt2",  "llama3",  "qwen2",        "bloom", "llama2", "llama2_metaspace",
                                  "gemma", "unknown", "unknown_fused"};

Tokenizer golden_tokenizer(std::string_view name) {
    return Tokenizer::from_json(dump_json(tokenizer_goldens(name).at("tokenizer")), "", name);
}

TEST(Detokenizer, JoinedIsTheDecodedWhole) {
    RandomText random(2);
    for (const char* name : kNames) {
        const Tokenizer tokenizer = golden_tokenizer(name);
        for (int round = 0; round < 300; ++round) {
            Ids ids;  // any ids, also such as no text would give, and none
            for (std::size_t count = random.below(40); count-- > 0;)
                ids.push_back(
                    static_cast<std::int32_t>(random.below(static_cast<std::size_t>(tokenizer.vocabulary_size()) + 3)));
            for (const bool skip : {false, true}) {
                Detokenizer detokenizer(tokenizer, skip);
                std::string text;
                for (const std::int32_t id : ids) {
                    const std::string part = detokenizer.push(id);
                    ASSERT_TRUE(unicode::is_valid(part)) << name;
                    text += part;
                }
                ASSERT_EQ(text + detokenizer.finish(), tokenizer.decode(ids, skip)) << name;
            }
        }
    }
}

TEST(Detokenizer, ShowsACharacterWithItsLastByte) {
    const Tokenizer tokenizer = golden_tokenizer("gpt2");
    for (char32_t c = 0xAC00; c <= 0xD7A3; c += 97) {
        std::string syllable;
        unicode::append(syllable, c);
        Detokenizer detokenizer(tokenizer);
        const Ids ids = tokenizer.encode(syllable);
        for (std::size_t i = 0; i < ids.size(); ++i)
            ASSERT_EQ(detokenizer.push(ids[i]), i + 1 == ids.size() ? syllable : "") << syllable;
        EXPECT_EQ(detokenizer.finish(), "");
    }
}

TEST(Detokenizer, HoldsAtMostThreeBytesOfByteLevelText) {
    const Tokenizer tokenizer = golden_tokenizer("gpt2");
    RandomText random(4);
    for (int round = 0; round < 200; ++round) {
        const std::string text = random(30);
        Detokenizer detokenizer(tokenizer);
        std::size_t pushed = 0, shown = 0;
        for (const std::int32_t id : tokenizer.encode(text)) {
            pushed += tokenizer.token_bytes(id).size();
            shown += detokenizer.push(id).size();
            ASSERT_LE(pushed - shown, 3u);
        }
    }
}

TEST(Detokenizer, ReplacesWhatCannotBeCompleted) {
    const Tokenizer tokenizer = golden_tokenizer("gpt2");
    const auto byte = [&](std::string_view piece) { return *tokenizer.find(piece); };
    Detokenizer detokenizer(tokenizer);
    EXPECT_EQ(detokenizer.push(byte("ê")), "");  // 0xEA: the first of three
    EXPECT_EQ(detokenizer.push(byte("°")), "");  // 0xB0: the second
    EXPECT_EQ(detokenizer.push(byte("a")), "\uFFFDa");
    EXPECT_EQ(detokenizer.push(byte("ê")), "");
    EXPECT_EQ(detokenizer.finish(), "\uFFFD");
    EXPECT_EQ(detokenizer.push(byte("a")), "a");  // as new
    EXPECT_EQ(detokenizer.push(byte("ÿ")), "\uFFFD");
}

TEST(Detokenizer, ByteRunsAreWholeOrReplacedByteByByte) {
    const Tokenizer tokenizer = golden_tokenizer("llama2");
    Detokenizer detokenizer(tokenizer);
    const auto push = [&](std::initializer_list<std::string_view> pieces) {
        std::string text;
        for (const std::string_view piece : pieces) text += detokenizer.push(*tokenizer.find(piece));
        return text;
    };
    EXPECT_EQ(push({"<0xEA>", "<0xB0>", "<0x80>"}), "");  // the run may go on, and become invalid as a whole
    EXPECT_EQ(push({"▁"}), "가 ");
    EXPECT_EQ(push({"<0xEA>", "<0x41>"}), "");
    EXPECT_EQ(detokenizer.finish(), "\uFFFD\uFFFD");
    EXPECT_EQ(push({"▁", "a"}), "a");  // the first space of all is dropped
}

TEST(Detokenizer, SkipsSpecialTokensOrShowsThem) {
    const Tokenizer tokenizer = golden_tokenizer("qwen2");
    const std::int32_t end = *tokenizer.find("<|im_end|>"), think = *tokenizer.find("<think>");
    EXPECT_EQ(Detokenizer(tokenizer, true).push(end), "");
    EXPECT_EQ(Detokenizer(tokenizer, false).push(end), "<|im_end|>");
    EXPECT_EQ(Detokenizer(tokenizer, true).push(think), "<think>");
}

// Decoders whose steps the library itself cannot run on empty tokens, so that no golden has them.
TEST(Detokenizer, StripsTheEndsOfTokens) {
    const auto decode = [](std::string_view decoder, const Ids& ids) {
        const Tokenizer tokenizer = Tokenizer::from_json(
            R"({"model": {"type": "BPE", "merges": [], "vocab": {"..a..": 0, "b": 1, "..": 2, "x.": 3}}, "decoder": )" +
                std::string(decoder) + "}",
            "", "x");
        EXPECT_EQ(decode_stepwise(tokenizer, ids, true), tokenizer.decode(ids, true));
        return tokenizer.decode(ids, true);
    };
    const char* each = R"({"type": "Strip", "content": ".", "start": 1, "stop": 2})";
    EXPECT_EQ(decode(each, {0, 1, 3}), ".abx");
    EXPECT_EQ(decode(each, {2}), "");
    const char* whole =
        R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": ".", "start": 1, "stop": 2},
                            {"type": "Replace", "pattern": {"String": "..b"}, "content": "+"}]})";
    EXPECT_EQ(decode(whole, {0, 1, 0}), ".a+..a");
    EXPECT_EQ(decode(whole, {0, 2, 2}), ".a....");
    EXPECT_EQ(decode(R"({"type": "Sequence", "decoders": []})", {1, 3}), "bx.");
    EXPECT_EQ(decode("null", {1, 3}), "b x.");
}

}  // namespace
}  // namespace narae::test
