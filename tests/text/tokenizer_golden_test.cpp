// Small tokenizers of every kind of pipeline against Hugging Face's tokenizers library.
#include "text/tokenizer_goldens.h"

namespace narae::test {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, EqualsHuggingFace) {
    const Json goldens = tokenizer_goldens(GetParam());
    const Tokenizer tokenizer = Tokenizer::from_json(dump_json(goldens.at("tokenizer")), "", GetParam());
    expect_cases(tokenizer, goldens.at("cases"));
}

TEST_P(TokenizerGolden, WrittenAndReadAgainIsTheSame) {
    const Json goldens = tokenizer_goldens(GetParam());
    const Tokenizer first = Tokenizer::from_json(dump_json(goldens.at("tokenizer")), "", GetParam());
    const Tokenizer again =
        Tokenizer::from_json(first.to_tokenizer_json(), first.to_tokenizer_config_json("{{ x }}"), GetParam());
    expect_cases(again, goldens.at("cases"));
}

INSTANTIATE_TEST_SUITE_P(Pipelines, TokenizerGolden,
                         testing::Values("gpt2", "gpt2_prefix_space", "llama3", "qwen2", "smollm", "tekken", "bloom", "falcon",
                                         "llama2", "llama2_metaspace", "gemma", "unknown", "unknown_fused"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace narae::test
