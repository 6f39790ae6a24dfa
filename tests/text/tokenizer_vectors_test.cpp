// Real tokenizers against the published test vectors of other projects, all made with the original libraries: kitoken,
// llama.cpp, transformers.js. Needs the test data folder.
#include "base/error.h"
#include "text/gguf_metadata.h"
#include "text/tokenizer_goldens.h"

#include <fmt/format.h>

#include <charconv>

namespace narae::test {
namespace {

Tokenizer real_tokenizer(const Path& data, std::string_view name, bool with_config = true) {
    const Path folder = data / "tokenizers" / name;
    const Path config = folder / "tokenizer_config.json.zst";
    return Tokenizer::from_json(read_zst(folder / "tokenizer.json.zst"),
                                with_config && std::filesystem::exists(config) ? read_zst(config) : "", name);
}

std::vector<std::string> lines(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

// Numbers between anything else.
Ids numbers(std::string_view text) {
    Ids ids;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at < end) {
        std::int32_t id = 0;
        const auto [next, error] = std::from_chars(at, end, id);
        if (error == std::errc()) {
            ids.push_back(id);
            at = next;
        } else {
            ++at;
        }
    }
    return ids;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

// kitoken: (folder of the tokenizer, suffix of the files)
class Kitoken : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Kitoken, GivesTheIds) {
    NARAE_NEEDS_TEST_DATA(data);
    const auto [name, suffix] = GetParam();
    const Tokenizer tokenizer = real_tokenizer(data, name, false);
    const Path archive = data / "tokenizer_vectors/kitoken_vectors.tar.zst";
    const auto member = [&](const std::string& file) { return read_tar_zst(archive, "tests/data/" + file); };
    const EncodeOptions bare{.add_special = false};
    for (const std::string kind : {"small", "mixed"}) {
        const std::vector<std::string> texts = lines(member(kind + "_input.txt"));
        const std::vector<std::string> ids = lines(member(fmt::format("tokenizers/{}_tokens_{}.txt", kind, suffix)));
        ASSERT_EQ(texts.size(), ids.size());
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const std::string text = kind == "small" ? replaced(replaced(texts[i], "\\n", "\n"), "\\s", " ") : texts[i];
            EXPECT_EQ(tokenizer.encode(text, bare), numbers(ids[i])) << kind << " line " << i + 1 << ": " << text;
        }
    }
    EXPECT_EQ(tokenizer.encode(member("utf8_input.txt"), bare),
              numbers(member(fmt::format("tokenizers/utf8_tokens_{}.txt", suffix))));
}

INSTANTIATE_TEST_SUITE_P(Vectors, Kitoken,
                         testing::Values(std::pair("gpt2", "gpt2"), std::pair("llama3.1", "llama32"),
                                         std::pair("gpt_neox", "gpt_neox"), std::pair("llama2", "llama2"),
                                         std::pair("mistral_v1", "mistral01"), std::pair("mistral_v3", "mistral03"),
                                         std::pair("gemma3", "gemma3")),
                         [](const auto& parameter) { return std::string(parameter.param.second); });

// llama.cpp: texts and ids by name
struct LlamaCppVectors {
    std::vector<std::string> texts;
    std::vector<Ids> ids;
};

LlamaCppVectors llama_cpp_vectors(const Path& archive, std::string_view name) {
    const auto member = [&](std::string_view end) {
        return read_tar_zst(archive, fmt::format("models/ggml-vocab-{}.gguf{}", name, end));
    };
    LlamaCppVectors vectors;
    constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";
    const std::string inputs = member(".inp");
    std::string_view rest = inputs;
    for (std::size_t at; (at = rest.find(kBetween)) != std::string_view::npos; rest.remove_prefix(at + kBetween.size()))
        vectors.texts.emplace_back(rest.substr(0, at));
    for (const std::string& line : lines(member(".out"))) vectors.ids.push_back(numbers(line));
    return vectors;
}

void expect_vectors(const Tokenizer& tokenizer, const LlamaCppVectors& vectors) {
    ASSERT_GE(vectors.texts.size(), 40u);
    ASSERT_LE(vectors.texts.size(), vectors.ids.size());
    for (std::size_t i = 0; i < vectors.texts.size(); ++i)
        EXPECT_EQ(tokenizer.encode(vectors.texts[i], {.add_special = false}), vectors.ids[i]) << vectors.texts[i];
}

class LlamaCppJson : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(LlamaCppJson, GivesTheIds) {
    NARAE_NEEDS_TEST_DATA(data);
    const auto [name, vectors] = GetParam();
    expect_vectors(real_tokenizer(data, name),
                   llama_cpp_vectors(data / "tokenizer_vectors/llama.cpp_ggml-vocab.tar.zst", vectors));
}

INSTANTIATE_TEST_SUITE_P(Vectors, LlamaCppJson,
                         testing::Values(std::pair("gpt2", "gpt-2"), std::pair("llama3.1", "llama-bpe"),
                                         std::pair("qwen3", "qwen2"), std::pair("llama2", "llama-spm")),
                         [](const auto& parameter) { return replaced(parameter.param.second, "-", "_"); });

class LlamaCppGguf : public testing::TestWithParam<const char*> {};

TEST_P(LlamaCppGguf, GivesTheIds) {
    NARAE_NEEDS_TEST_DATA(data);
    const Path archive = data / "tokenizer_vectors/llama.cpp_ggml-vocab.tar.zst";
    const std::string file = read_tar_zst(archive, fmt::format("models/ggml-vocab-{}.gguf", GetParam()));
    const Tokenizer tokenizer = Tokenizer::from_gguf(GgufMetadata(file).vocabulary(), GetParam());
    const LlamaCppVectors vectors = llama_cpp_vectors(archive, GetParam());
    expect_vectors(tokenizer, vectors);
    // The same after a way through tokenizer.json, and through GGUF metadata again.
    const Tokenizer json = Tokenizer::from_json(tokenizer.to_tokenizer_json(), tokenizer.to_tokenizer_config_json(), "again");
    expect_vectors(json, vectors);
    expect_vectors(Tokenizer::from_gguf(json.to_gguf(), "and again"), vectors);
    EXPECT_EQ(json.bos(), tokenizer.bos());
    EXPECT_EQ(json.eos(), tokenizer.eos());
    EXPECT_EQ(json.encode("a"), tokenizer.encode("a"));
}

INSTANTIATE_TEST_SUITE_P(Vectors, LlamaCppGguf,
                         testing::Values("gpt-2", "mpt", "refact", "starcoder", "falcon", "deepseek-coder", "llama-spm",
                                         "phi-3"),
                         [](const auto& parameter) { return replaced(parameter.param, "-", "_"); });

// What transformers' decode does to the text when tokenizer_config.json says clean_up_tokenization_spaces, as it does for
// GPT-2 and Llama 3; no part of a tokenizer.
std::string cleaned_up(std::string text) {
    for (const auto& [from, to] : {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","),
                                   std::pair(" ' ", "'"), std::pair(" n't", "n't"), std::pair(" 'm", "'m"),
                                   std::pair(" 's", "'s"), std::pair(" 've", "'ve"), std::pair(" 're", "'re")})
        text = replaced(std::move(text), from, to);
    return text;
}

class TransformersJs : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(TransformersJs, GivesTheIdsAndTheText) {
    NARAE_NEEDS_TEST_DATA(data);
    const auto [name, model] = GetParam();
    const Tokenizer tokenizer = real_tokenizer(data, name);
    const bool cleans_up = std::string_view(name) == "gpt2" || std::string_view(name) == "llama3.1";
    const std::string path = "transformersjs_tokenizer_vectors.json.zst";
    const Json all = parse_json(read_zst(data / "tokenizer_vectors" / path), path);
    ASSERT_FALSE(all.at(model).empty());
    for (const Json& row : all.at(model)) {
        const auto text = row.at("text").get<std::string>();
        const auto ids = row.at("ids").get<Ids>();
        EXPECT_EQ(tokenizer.encode(text), ids) << text;
        if (row.contains("decoded") && row.at("decoded").is_string()) {
            const std::string decoded = tokenizer.decode(ids);
            EXPECT_EQ(cleans_up ? cleaned_up(decoded) : decoded, row.at("decoded").get<std::string>()) << text;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Vectors, TransformersJs,
                         testing::Values(std::pair("gpt2", "openai-community/gpt2"),
                                         std::pair("llama3.1", "Xenova/llama3-tokenizer-new"),
                                         std::pair("qwen3", "Xenova/Qwen1.5-0.5B-Chat"),
                                         std::pair("llama2", "Xenova/llama-tokenizer"),
                                         std::pair("gemma", "Xenova/gemma2-tokenizer")),
                         [](const auto& parameter) { return replaced(parameter.param.first, ".", "_"); });

}  // namespace
}  // namespace narae::test
