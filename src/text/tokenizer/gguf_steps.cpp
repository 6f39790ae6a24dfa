#include "text/tokenizer/gguf_steps.h"

#include "text/tokenizer/split_patterns.h"

namespace narae {
namespace {

Json byte_level(bool use_regex) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json split(std::string_view regex) {
    return {{"type", "Split"}, {"pattern", {{"Regex", std::string(regex)}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }

template <class... Steps>
Json sequence(Steps... steps) {
    Json list = Json::array();
    (list.push_back(std::move(steps)), ...);
    return {{"type", "Sequence"}, {"pretokenizers", list}};
}

// Splits by the expressions, one after the other, then bytes.
template <class... Regexes>
Json splits(Regexes... regexes) {
    return sequence(split(regexes)..., byte_level(false));
}

constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeek3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCjk = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
constexpr std::string_view kKanaAndHan = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kBloom = " ?[^(\\s|[.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C])]+";

}  // namespace

const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers() {
    static const std::vector<GgufPreTokenizer> kTable = {
        {{"gpt-2", "phi-2", "jais", "mpt", "olmo", "gigachat", "trillion"}, nullptr, byte_level(true)},
        {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
         nullptr,
         sequence(digits(true), byte_level(true))},
        {{"llama-bpe", "llama3", "llama-v3", "falcon3"}, nullptr, splits(kLlama3Regex), true, true},
        {{"smaug-bpe", "dbrx"}, nullptr, splits(kLlama3Regex)},
        {{"qwen2"}, {{"type", "NFC"}}, splits(kQwen2Regex)},
        {{"deepseek-r1-qwen", "stablelm2", "solar-open", "megrez", "hunyuan"}, nullptr, splits(kQwen2Regex)},
        {{"qwen35"}, {{"type", "NFC"}}, splits(kQwen35Regex)},
        {{"tekken", "pixtral"}, nullptr, splits(kTekken), true, true},
        {{"gpt-4o", "llama4"}, nullptr, splits(kGpt4o)},
        {{"deepseek-v3"}, nullptr, splits(std::string_view(R"(\p{N}{1,3})"), kKanaAndHan, kDeepSeek3Words)},
        {{"deepseek-coder"},
         nullptr,
         sequence(split("[\r\n]"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"), split(kCjk), digits(true), byte_level(false))},
        {{"falcon"},
         nullptr,
         sequence(Json{{"type", "Punctuation"}, {"behavior", "Contiguous"}}, byte_level(true), digits(false),
                  split("[0-9][0-9][0-9]"))},
        {{"bloom", "poro-chat", "gpt3-finnish"}, nullptr, splits(kBloom)},
        {{"viking"}, nullptr, sequence(split(kBloom), digits(true), byte_level(false))},
    };
    return kTable;
}

StepDescriptions sentencepiece_steps(bool add_space_prefix) {
    const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
    Json decoders = Json::array({{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                                 {{"type", "ByteFallback"}},
                                 {{"type", "Fuse"}}});
    StepDescriptions steps;
    steps.normalizer = replace;
    if (add_space_prefix) {
        steps.normalizer = {{"type", "Sequence"},
                            {"normalizers", Json::array({{{"type", "Prepend"}, {"prepend", "\u2581"}}, replace})}};
        decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    steps.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
    return steps;
}

}  // namespace narae
