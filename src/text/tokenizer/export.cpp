// A Tokenizer written as tokenizer.json with tokenizer_config.json, and as GGUF metadata.
#include "base/error.h"
#include "text/tokenizer/gguf_steps.h"
#include "text/tokenizer/parts.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

namespace narae {
namespace {

// JSON's string of valid UTF-8. The vocabulary is too large to build a Json of it.
void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    out += '"';
}

const char* json_bool(bool value) { return value ? "true" : "false"; }

// Added tokens in order of their ids.
std::vector<const AddedToken*> sorted_added(const Tokenizer::Parts& parts) {
    std::vector<const AddedToken*> added;
    for (const AddedToken& token : parts.added) added.push_back(&token);
    std::sort(added.begin(), added.end(), [](const AddedToken* a, const AddedToken* b) { return a->id < b->id; });
    return added;
}

// The ids that are written as words of the model. Added tokens are not, unless their ids would change: the tokenizers library
// does not read them but counts, from the model's size or from the largest that was added. A repeated text has its first id.
std::vector<std::int32_t> model_words(const Tokenizer::Parts& parts) {
    const Vocabulary& vocabulary = parts.vocabulary;
    std::vector<bool> is_added(static_cast<std::size_t>(vocabulary.size()));
    for (const AddedToken& token : parts.added) is_added[static_cast<std::size_t>(token.id)] = true;
    std::vector<std::int32_t> own, all;
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.contains(id)) continue;
        const bool of_model = vocabulary.is_model_token(id);
        if (!of_model && parts.find(vocabulary.text(id)) != id) continue;
        all.push_back(id);
        if (of_model || !is_added[static_cast<std::size_t>(id)]) own.push_back(id);
    }
    const auto size = static_cast<std::int32_t>(own.size());
    std::int32_t largest = -1;
    for (const AddedToken* token : sorted_added(parts)) {
        if (!vocabulary.is_model_token(token->id) && token->id != (largest >= size ? largest + 1 : size)) return all;
        largest = token->id;
    }
    return own;
}

void append_model(std::string& out, const Tokenizer::Parts& parts) {
    const BpeOptions& options = parts.bpe.options();
    out += R"("model":{"type":"BPE","dropout":null,"unk_token":)";
    if (options.unknown) {
        append_json_string(out, parts.vocabulary.text(*options.unknown));
    } else {
        out += "null";
    }
    out += fmt::format(R"(,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":{},"byte_fallback":{},)"
                       R"("ignore_merges":{},"vocab":{{)",
                       json_bool(options.fuse_unknown), json_bool(options.byte_fallback), json_bool(options.ignore_merges));
    bool first = true;
    for (const std::int32_t id : model_words(parts)) {
        if (!first) out += ',';
        first = false;
        append_json_string(out, parts.vocabulary.text(id));
        out += fmt::format(":{}", id);
    }
    out += R"(},"merges":[)";
    first = true;
    for (const MergedPair& pair : parts.bpe.pairs()) {
        out += first ? "[" : ",[";
        first = false;
        append_json_string(out, parts.vocabulary.text(pair.left));
        out += ',';
        append_json_string(out, parts.vocabulary.text(pair.right));
        out += ']';
    }
    out += "]}";
}

Json added_token_json(const AddedToken& token) {
    return {{"content", token.content},    {"single_word", token.single_word}, {"lstrip", token.left_strip},
            {"rstrip", token.right_strip}, {"normalized", token.normalized},   {"special", token.special}};
}

// The score of a piece: minus the rank of the first merge that makes it, and less than all for those that none makes.
std::vector<float> scores_by_rank(const Tokenizer::Parts& parts) {
    const std::vector<MergedPair> pairs = parts.bpe.pairs();
    std::vector<float> scores(static_cast<std::size_t>(parts.vocabulary.size()), -static_cast<float>(pairs.size() + 1));
    std::string text;
    for (std::size_t rank = pairs.size(); rank-- > 0;) {
        text.assign(parts.vocabulary.text(pairs[rank].left)).append(parts.vocabulary.text(pairs[rank].right));
        scores[static_cast<std::size_t>(parts.vocabulary.find(text))] = -static_cast<float>(rank);
    }
    return scores;
}

bool is_sentencepiece(const Tokenizer::Parts& parts) {
    if (!parts.bpe.options().byte_fallback) return false;
    const auto spaces = [](const NormalizerStep& step) {
        const auto* replace = std::get_if<ReplaceText>(&step);
        return replace && replace->pattern == " " && replace->content == "\u2581";
    };
    return std::any_of(parts.normalizer.steps().begin(), parts.normalizer.steps().end(), spaces) ||
           std::any_of(parts.pre_tokenizer.steps().begin(), parts.pre_tokenizer.steps().end(),
                       [](const PreTokenizerStep& step) { return std::holds_alternative<MetaspaceStep>(step); });
}

bool adds_space_prefix(const Tokenizer::Parts& parts) {
    return std::any_of(parts.normalizer.steps().begin(), parts.normalizer.steps().end(),
                       [](const NormalizerStep& step) { return std::holds_alternative<PrependText>(step); }) ||
           std::any_of(parts.pre_tokenizer.steps().begin(), parts.pre_tokenizer.steps().end(),
                       [](const PreTokenizerStep& step) {
                           const auto* space = std::get_if<MetaspaceStep>(&step);
                           return space && space->scheme != PrependScheme::never;
                       });
}

// What a pre-tokenizer does, without how it is written.
Json essence(const Json& step) {
    if (step.is_array()) {
        Json list = Json::array();
        for (const Json& item : step) list.push_back(essence(item));
        return list;
    }
    if (!step.is_object()) return step;
    if (const auto list = step.find("pretokenizers"); list != step.end()) {
        return list->size() == 1 ? essence(list->front()) : essence(*list);
    }
    Json out = Json::object();
    std::vector<std::string> keys;
    for (const auto& [key, value] : step.items())
        if (key != "trim_offsets" && !(key == "invert" && value == false)) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    for (const std::string& key : keys) out[key] = essence(step[key]);
    if (out["type"] == "ByteLevel") out["use_regex"] = step.value("use_regex", true);
    return out;
}

std::string_view gguf_pre(const Tokenizer::Parts& parts) {
    const Json pre_tokenizer = essence(parts.descriptions.pre_tokenizer);
    for (const GgufPreTokenizer& entry : gguf_pre_tokenizers())
        if (essence(entry.pre_tokenizer) == pre_tokenizer && entry.normalizer == parts.descriptions.normalizer &&
            entry.ignore_merges == parts.bpe.options().ignore_merges)
            return entry.names.front();
    throw_error<UsageError>("{}: GGUF has no name for this tokenizer's pre-tokenizer; keep it in a Hugging Face folder",
                            parts.what);
}

}  // namespace

std::string Tokenizer::to_tokenizer_json() const {
    const Parts& parts = *parts_;
    std::string out = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)";
    const std::vector<const AddedToken*> added = sorted_added(parts);
    for (const AddedToken* token : added) {
        Json json = {{"id", token->id}};
        json.update(added_token_json(*token));
        if (token != added.front()) out += ',';
        out += dump_json(json);
    }
    out += fmt::format(R"(],"normalizer":{},"pre_tokenizer":{},"post_processor":{},"decoder":{},)",
                       dump_json(parts.descriptions.normalizer), dump_json(parts.descriptions.pre_tokenizer),
                       dump_json(parts.descriptions.post_processor), dump_json(parts.descriptions.decoder));
    append_model(out, parts);
    return out + "}";
}

std::string Tokenizer::to_tokenizer_config_json(std::string_view chat_template) const {
    const Parts& parts = *parts_;
    Json config = Json::object();
    Json& decoder = config["added_tokens_decoder"] = Json::object();
    for (const AddedToken& token : parts.added) decoder[std::to_string(token.id)] = added_token_json(token);
    for (const auto& [name, text] : parts.special_tokens) config[name] = text;
    config["clean_up_tokenization_spaces"] = false;
    config["add_prefix_space"] = false;
    if (const Json& pre = parts.descriptions.pre_tokenizer; pre.is_object() && pre.contains("add_prefix_space"))
        config["add_prefix_space"] = pre["add_prefix_space"];
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    if (!chat_template.empty()) config["chat_template"] = std::string(chat_template);
    return dump_json(config, 2);
}

GgufVocabulary Tokenizer::to_gguf(std::size_t rows) const {
    const Parts& parts = *parts_;
    GgufVocabulary out;
    const bool sentencepiece = is_sentencepiece(parts);
    out.model = sentencepiece ? "llama" : "gpt2";
    out.pre = sentencepiece ? "default" : gguf_pre(parts);

    struct Storage {
        std::vector<std::string> texts;
    };
    auto storage = std::make_shared<Storage>();
    const auto count = static_cast<std::size_t>(parts.vocabulary.size());
    const std::size_t total = std::max(rows, count);
    const std::vector<MergedPair> pairs = sentencepiece ? std::vector<MergedPair>() : parts.bpe.pairs();
    storage->texts.reserve(total + pairs.size());  // never grows: the views point into it
    const auto keep = [&](std::string text) -> std::string_view { return storage->texts.emplace_back(std::move(text)); };

    constexpr float kAddedScore = -1000, kUnusedScore = -10000;
    const auto normal = static_cast<std::int32_t>(GgufTokenType::normal);
    out.token_types.assign(total, normal);
    if (sentencepiece) {
        out.scores = scores_by_rank(parts);
        out.scores.resize(total, kUnusedScore);
    }
    for (std::size_t id = 0; id < total; ++id) {
        const auto number = static_cast<std::int32_t>(id);
        if (is_token(number)) {
            out.tokens.push_back(keep(std::string(piece(number))));
            if (sentencepiece && byte_token_value(piece(number)) >= 0)
                out.token_types[id] = static_cast<std::int32_t>(GgufTokenType::byte);
        } else {
            out.tokens.push_back(keep(fmt::format("[PAD{}]", id)));
            out.token_types[id] = static_cast<std::int32_t>(GgufTokenType::unused);
            if (sentencepiece) out.scores[id] = kUnusedScore;
        }
    }
    for (const AddedToken& token : parts.added) {
        const auto id = static_cast<std::size_t>(token.id);
        out.token_types[id] = static_cast<std::int32_t>(token.special ? GgufTokenType::control : GgufTokenType::user_defined);
        if (sentencepiece) out.scores[id] = kAddedScore;
    }
    for (const MergedPair& pair : pairs)
        out.merges.push_back(keep(fmt::format("{} {}", parts.vocabulary.text(pair.left), parts.vocabulary.text(pair.right))));
    out.bos = parts.bos;
    out.eos = parts.eos;
    out.unknown = parts.special_token_id("unk_token");
    if (!out.unknown) out.unknown = parts.bpe.options().unknown;
    if (sentencepiece && out.unknown)
        out.token_types[static_cast<std::size_t>(*out.unknown)] = static_cast<std::int32_t>(GgufTokenType::unknown);
    out.padding = parts.special_token_id("pad_token");
    const PostProcessor& processor = parts.post_processor;
    out.add_bos = parts.bos && processor.before == std::vector<std::int32_t>{*parts.bos};
    out.add_eos = parts.eos && processor.after == std::vector<std::int32_t>{*parts.eos};
    out.add_space_prefix = sentencepiece && adds_space_prefix(parts);
    out.storage = storage;
    return out;
}

}  // namespace narae
