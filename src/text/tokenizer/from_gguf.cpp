// Tokenizer::from_gguf: a vocabulary of GGUF metadata, as llama.cpp reads it, becomes the steps of tokenizer.json.
#include "base/error.h"
#include "base/log.h"
#include "text/tokenizer/gguf_steps.h"
#include "text/tokenizer/parts.h"
#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <string_view>

namespace narae {
namespace {

GgufTokenType type_of(const GgufVocabulary& source, std::size_t id) {
    return source.token_types.empty() ? GgufTokenType::normal : static_cast<GgufTokenType>(source.token_types[id]);
}

void check_sizes(const GgufVocabulary& source, std::string_view what) {
    const std::size_t count = source.tokens.size();
    if (count == 0 || count > kMaximumVocabulary)
        throw_error<BadFileError>("{}: tokenizer.ggml.tokens has {} tokens, need 1 to {}", what, count, kMaximumVocabulary);
    if (!source.token_types.empty() && source.token_types.size() != count)
        throw_error<BadFileError>("{}: tokenizer.ggml.token_type has {} entries, need {}", what, source.token_types.size(),
                                  count);
    if (!source.scores.empty() && source.scores.size() != count)
        throw_error<BadFileError>("{}: tokenizer.ggml.scores has {} entries, need {}", what, source.scores.size(), count);
    for (std::size_t id = 0; id < count; ++id) {
        const auto type = static_cast<std::int32_t>(type_of(source, id));
        if (type < 1 || type > 6) throw_error<BadFileError>("{}: token {} has the type {}, need 1 to 6", what, id, type);
        if (!unicode::is_valid(source.tokens[id])) throw_error<BadFileError>("{}: token {} is not valid UTF-8", what, id);
    }
}

void read_tokens(const GgufVocabulary& source, Tokenizer::Parts& parts) {
    std::size_t bytes = 0;
    for (const std::string_view token : source.tokens) bytes += token.size();
    Vocabulary& vocabulary = parts.vocabulary;
    vocabulary.reserve(source.tokens.size(), bytes);
    for (std::size_t id = 0; id < source.tokens.size(); ++id) {
        const std::string_view text = source.tokens[id];
        const GgufTokenType type = type_of(source, id);
        if (type == GgufTokenType::unused) continue;
        const bool special = type == GgufTokenType::control || type == GgufTokenType::unknown;
        const auto number = static_cast<std::int64_t>(id);
        if (special) {
            vocabulary.add_hidden(number, text, parts.what);
        } else {
            vocabulary.add_or_hide(number, text, parts.what);  // a repeated text is found by its first id
        }
        if (!special && type != GgufTokenType::user_defined) continue;
        if (text.empty() || text.size() > kMaximumAddedTokenBytes) continue;
        AddedToken token;
        token.id = static_cast<std::int32_t>(id);
        token.content = text;
        token.special = special;
        parts.added.push_back(std::move(token));
    }
    vocabulary.extend(source.tokens.size());
}

std::vector<MergedPair> read_merges(const GgufVocabulary& source, const Tokenizer::Parts& parts) {
    std::vector<std::pair<std::string_view, std::string_view>> pairs;
    pairs.reserve(source.merges.size());
    for (const std::string_view merge : source.merges) {
        const std::size_t space = merge.find(' ', 1);
        if (space == std::string_view::npos)
            throw_error<BadFileError>("{}: merge {} is '{}', need two tokens and a space", parts.what, pairs.size(), merge);
        pairs.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    return find_pairs(parts.vocabulary, pairs, parts.what);
}

// SentencePiece knows no merges: it joins the neighbours whose joined piece scores highest. As a list of merges: every way
// to cut a piece in two pieces, by falling score. (transformers, convert_slow_tokenizer.py, generate_merges.)
std::vector<MergedPair> merges_by_score(const GgufVocabulary& source, const Tokenizer::Parts& parts) {
    if (source.scores.empty())
        throw_error<BadFileError>("{}: tokenizer.ggml.scores is missing, which the model '{}' needs", parts.what, source.model);
    struct Cut {
        MergedPair pair;
        float score;
        std::uint32_t left_length, right_length;  // in characters
    };
    std::vector<Cut> cuts;
    for (std::size_t id = 0; id < source.tokens.size(); ++id) {
        if (!parts.vocabulary.is_model_token(static_cast<std::int32_t>(id))) continue;
        if (std::isnan(source.scores[id]))
            throw_error<BadFileError>("{}: the score of token {} is not a number", parts.what, id);
        const std::string_view text = source.tokens[id];
        constexpr std::size_t kLongestPiece = 1024;  // all cuts of a piece are quadratic in its length
        if (text.size() > kLongestPiece)
            throw_error<BadFileError>("{}: token {} has {} bytes, need at most {}", parts.what, id, text.size(), kLongestPiece);
        const std::size_t first = cuts.size();
        std::uint32_t characters = 0;
        for (std::size_t at = 0; at < text.size(); at += unicode::decode(text, at).length, ++characters) {
            if (at == 0) continue;
            const std::int32_t left = parts.vocabulary.find(text.substr(0, at));
            const std::int32_t right = left < 0 ? -1 : parts.vocabulary.find(text.substr(at));
            if (right >= 0) cuts.push_back({{left, right}, source.scores[id], characters, 0});
        }
        for (std::size_t i = first; i < cuts.size(); ++i) cuts[i].right_length = characters - cuts[i].left_length;
        std::sort(cuts.begin() + static_cast<std::ptrdiff_t>(first), cuts.end(), [](const Cut& a, const Cut& b) {
            return a.pair.left != b.pair.left ? a.pair.left < b.pair.left : a.pair.right < b.pair.right;
        });
    }
    std::stable_sort(cuts.begin(), cuts.end(), [](const Cut& a, const Cut& b) {
        if (a.score != b.score) return a.score > b.score;
        if (a.left_length != b.left_length) return a.left_length > b.left_length;
        return a.right_length > b.right_length;
    });
    std::vector<MergedPair> pairs;
    pairs.reserve(cuts.size());
    for (const Cut& cut : cuts) pairs.push_back(cut.pair);
    return pairs;
}

// Ends of a turn or a message that files of chat models do not always name.
bool ends_generation(std::string_view text) {
    constexpr std::array<std::string_view, 14> kNames = {
        "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
        "<|eos|>",    "<|eot|>",    "<EOT>",      "< EOT >", "_<EOT>",        "<|return|>",    "<|call|>"};
    return std::find(kNames.begin(), kNames.end(), text) != kNames.end();
}

void name_special_tokens(const GgufVocabulary& source, Tokenizer::Parts& parts) {
    const auto check = [&](std::optional<std::int32_t> id, std::string_view key) {
        if (id && !parts.vocabulary.contains(*id))
            throw_error<BadFileError>("{}: tokenizer.ggml.{}_token_id is {}, which is no token of the vocabulary", parts.what,
                                      key, *id);
        return id.has_value();
    };
    const auto name = [&](std::optional<std::int32_t> id, std::string_view key, std::string_view role) {
        if (check(id, key)) parts.special_tokens.emplace_back(role, parts.vocabulary.text(*id));
    };
    name(source.bos, "bos", "bos_token");
    name(source.eos, "eos", "eos_token");
    name(source.unknown, "unknown", "unk_token");
    name(source.padding, "padding", "pad_token");
    if (check(source.eot, "eot")) parts.end_of_generation.push_back(*source.eot);
    if (check(source.eom, "eom")) parts.end_of_generation.push_back(*source.eom);
    for (const AddedToken& token : parts.added)
        if (token.special && ends_generation(token.content)) parts.end_of_generation.push_back(token.id);
}

const GgufPreTokenizer& find_pre_tokenizer(std::string_view pre, std::string_view what) {
    std::string names;
    for (const GgufPreTokenizer& entry : gguf_pre_tokenizers())
        for (const std::string_view name : entry.names) {
            if (name == pre) return entry;
            names.append(names.empty() ? "" : ", ").append(name);
        }
    throw_error<BadFileError>("{}: tokenizer.ggml.pre is '{}', which is not supported; known are {}", what, pre, names);
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& source, std::string_view what) {
    auto parts = std::make_unique<Parts>();
    parts->what = what;
    check_sizes(source, what);
    Parts::Source merging;
    bool add_bos = false;
    if (source.model == "gpt2") {
        const bool named = !source.pre.empty() && source.pre != "default";
        if (!named)
            log_warning(
                "{}: tokenizer.ggml.pre does not say how text is cut into words; taking GPT-2's way, which may be wrong", what);
        const GgufPreTokenizer& pre = find_pre_tokenizer(named ? source.pre : "gpt-2", what);
        read_tokens(source, *parts);
        merging.merges = read_merges(source, *parts);
        merging.options.ignore_merges = pre.ignore_merges;
        add_bos = pre.add_bos;
        parts->descriptions = {
            pre.normalizer,
            pre.pre_tokenizer,
            nullptr,
            {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}};
    } else if (source.model == "llama") {
        read_tokens(source, *parts);
        merging.merges = merges_by_score(source, *parts);
        merging.options.byte_fallback = true;
        merging.options.fuse_unknown = true;
        if (source.unknown && parts->vocabulary.contains(*source.unknown)) merging.options.unknown = source.unknown;
        add_bos = true;
        parts->descriptions = sentencepiece_steps(source.add_space_prefix.value_or(true));
    } else {
        throw_error<BadFileError>("{}: tokenizer.ggml.model is '{}', need gpt2 or llama (others are not supported yet)", what,
                                  source.model);
    }
    name_special_tokens(source, *parts);
    PostProcessor post_processor;
    if (source.add_bos.value_or(add_bos) && source.bos) post_processor.before.push_back(*source.bos);
    if (source.add_eos.value_or(false) && source.eos) post_processor.after.push_back(*source.eos);
    parts->assemble(std::move(merging), std::move(post_processor));
    return Tokenizer(std::move(parts));
}

}  // namespace narae
