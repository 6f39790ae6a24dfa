// The default model's own tokenizer, out of its GGUF file.
#include "base/file.h"
#include "text/gguf_metadata.h"
#include "text/tokenizer_goldens.h"

#include <gmock/gmock.h>

namespace narae::test {
namespace {

class SmolLM2 : public testing::Test {
protected:
    SmolLM2() : file_(default_model()), tokenizer_(Tokenizer::from_gguf(GgufMetadata(file_.text()).vocabulary(), "SmolLM2")) {}

    MappedFile file_;
    Tokenizer tokenizer_;
};

TEST_F(SmolLM2, EqualsHuggingFace) { expect_cases(tokenizer_, tokenizer_goldens("smollm2").at("cases")); }

TEST_F(SmolLM2, EqualsItselfThroughTokenizerJson) {
    const Tokenizer again =
        Tokenizer::from_json(tokenizer_.to_tokenizer_json(), tokenizer_.to_tokenizer_config_json(), "SmolLM2");
    expect_cases(again, tokenizer_goldens("smollm2").at("cases"));
    EXPECT_EQ(again.special_tokens(), tokenizer_.special_tokens());
    EXPECT_EQ(again.vocabulary_size(), tokenizer_.vocabulary_size());
    for (std::int32_t id = 0; id < again.vocabulary_size(); ++id) {
        ASSERT_EQ(again.piece(id), tokenizer_.piece(id));
        ASSERT_EQ(again.is_special(id), tokenizer_.is_special(id));
    }
}

TEST_F(SmolLM2, EqualsItselfThroughGguf) {
    const GgufVocabulary original = GgufMetadata(file_.text()).vocabulary();
    const GgufVocabulary written = tokenizer_.to_gguf(original.tokens.size() + 2);
    EXPECT_EQ(written.model, original.model);
    EXPECT_EQ(written.pre, original.pre);
    EXPECT_EQ(written.merges, original.merges);
    EXPECT_EQ(written.bos, original.bos);
    EXPECT_EQ(written.eos, original.eos);
    EXPECT_EQ(written.padding, original.padding);
    EXPECT_EQ(written.unknown, original.unknown);
    ASSERT_EQ(written.tokens.size(), original.tokens.size() + 2);
    for (std::size_t id = 0; id < original.tokens.size(); ++id) {
        ASSERT_EQ(written.tokens[id], original.tokens[id]);
        ASSERT_EQ(written.token_types[id], original.token_types[id]) << original.tokens[id];
    }
    EXPECT_EQ(written.tokens.back(), "[PAD49153]");
    EXPECT_EQ(written.token_types.back(), static_cast<std::int32_t>(GgufTokenType::unused));
}

TEST_F(SmolLM2, KnowsItsSpecialTokens) {
    EXPECT_EQ(tokenizer_.vocabulary_size(), 49152);
    EXPECT_EQ(tokenizer_.bos(), 1);
    EXPECT_EQ(tokenizer_.eos(), 2);
    EXPECT_THAT(tokenizer_.end_of_generation(), testing::ElementsAre(0, 2));
    EXPECT_EQ(tokenizer_.piece(1), "<|im_start|>");
    EXPECT_TRUE(tokenizer_.is_special(1));
    EXPECT_EQ(tokenizer_.encode("<|im_start|>", {.parse_special = false}).size(), 7u);
}

}  // namespace
}  // namespace narae::test
