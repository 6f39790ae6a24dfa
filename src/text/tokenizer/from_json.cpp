// Tokenizer::from_json: tokenizer.json is read with simdjson, its small step objects and tokenizer_config.json with Json.
#include "base/error.h"
#include "text/tokenizer/parts.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

namespace narae {
namespace {

using Element = simdjson::dom::element;
using Object = simdjson::dom::object;

constexpr std::size_t kMaximumDepth = 64;
constexpr std::array<std::string_view, 7> kSpecialTokenNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                                "pad_token", "cls_token", "mask_token"};

std::string_view type_name(const Element& element) {
    switch (element.type()) {
        case simdjson::dom::element_type::ARRAY:
            return "array";
        case simdjson::dom::element_type::OBJECT:
            return "object";
        case simdjson::dom::element_type::STRING:
            return "string";
        case simdjson::dom::element_type::BOOL:
            return "boolean";
        case simdjson::dom::element_type::NULL_VALUE:
            return "null";
        default:
            return "number";
    }
}

// Typed reading of one document's members; absent and null are the same.
class Reader {
public:
    explicit Reader(std::string_view what) : what_(what) {}

    template <class T>
    std::optional<T> get(const Object& object, std::string_view key, std::string_view need) const {
        Element element;
        if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return std::nullopt;
        return as<T>(element, key, need);
    }
    template <class T>
    T need(const Object& object, std::string_view key, std::string_view type) const {
        const std::optional<T> value = get<T>(object, key, type);
        if (!value) throw_error<BadFileError>("{}: '{}' is missing, need a JSON {}", what_, key, type);
        return *value;
    }
    template <class T>
    T as(const Element& element, std::string_view key, std::string_view need) const {
        T value;
        if (element.get(value) != simdjson::SUCCESS)
            throw_error<BadFileError>("{}: '{}' is a JSON {}, need {} {}", what_, key, type_name(element),
                                      need.find_first_of("aeio") == 0 ? "an" : "a", need);
        return value;
    }
    bool flag(const Object& object, std::string_view key, bool absent = false) const {
        return get<bool>(object, key, "boolean").value_or(absent);
    }
    std::string_view text(const Object& object, std::string_view key) const {
        return get<std::string_view>(object, key, "string").value_or(std::string_view());
    }
    Json step(const Object& object, std::string_view key) const {
        Element element;
        if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return nullptr;
        return parse_json(simdjson::minify(element), what_);
    }

private:
    std::string_view what_;
};

void read_vocabulary(const Reader& reader, const Object& model, Tokenizer::Parts& parts) {
    const Object vocab = reader.need<Object>(model, "vocab", "object");
    std::size_t tokens = 0, bytes = 0;
    for (const auto& field : vocab) ++tokens, bytes += field.key.size();
    if (tokens > kMaximumVocabulary)
        throw_error<BadFileError>("{}: the vocabulary has {} tokens, need at most {}", parts.what, tokens, kMaximumVocabulary);
    parts.vocabulary.reserve(tokens, bytes);
    for (const auto& field : vocab)
        parts.vocabulary.add(reader.as<std::int64_t>(field.value, field.key, "integer"), field.key, parts.what);
}

std::vector<MergedPair> read_merges(const Reader& reader, const Object& model, const Tokenizer::Parts& parts) {
    const auto merges = reader.need<simdjson::dom::array>(model, "merges", "array");
    std::vector<std::pair<std::string_view, std::string_view>> pairs;
    for (const Element& merge : merges) {
        std::string_view left, right;
        if (merge.is_string()) {
            const std::string_view text = reader.as<std::string_view>(merge, "merges", "string");
            if (text.starts_with("#version")) continue;
            const std::size_t space = text.find(' ');
            if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
                throw_error<BadFileError>("{}: merge {} is '{}', need two tokens and one space", parts.what, pairs.size(),
                                          text);
            left = text.substr(0, space), right = text.substr(space + 1);
        } else {
            const auto both = reader.as<simdjson::dom::array>(merge, "merges", "string or pair of strings");
            if (both.size() != 2)
                throw_error<BadFileError>("{}: merge {} has {} parts, need 2", parts.what, pairs.size(), both.size());
            left = reader.as<std::string_view>(both.at(0).value(), "merges", "pair of strings");
            right = reader.as<std::string_view>(both.at(1).value(), "merges", "pair of strings");
        }
        pairs.emplace_back(left, right);
    }
    return find_pairs(parts.vocabulary, pairs, parts.what);
}

// Old files have no "type" for the model.
std::string model_type(const Reader& reader, const Object& model) {
    if (const auto type = reader.get<std::string_view>(model, "type", "string")) return std::string(*type);
    Element ignored;
    if (model.at_key("merges").get(ignored) == simdjson::SUCCESS) return "BPE";
    simdjson::dom::array pieces;
    if (model.at_key("vocab").get(pieces) == simdjson::SUCCESS) return "Unigram";
    return model.at_key("continuing_subword_prefix").get(ignored) == simdjson::SUCCESS ? "WordPiece" : "WordLevel";
}

Tokenizer::Parts::Source read_model(const Reader& reader, const Object& model, Tokenizer::Parts& parts) {
    const std::string type = model_type(reader, model);
    if (type != "BPE")
        throw_error<BadFileError>("{}: the tokenizer's model is '{}', need BPE (others are not supported yet)", parts.what,
                                  type);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (!reader.text(model, key).empty())
            throw_error<BadFileError>("{}: the BPE model has a {}, which is not supported", parts.what, key);
    if (reader.get<double>(model, "dropout", "number").value_or(0) != 0)
        throw_error<BadFileError>("{}: the BPE model has a dropout, which makes ids random and is not supported", parts.what);
    read_vocabulary(reader, model, parts);
    Tokenizer::Parts::Source source;
    source.merges = read_merges(reader, model, parts);
    if (const auto unknown = reader.get<std::string_view>(model, "unk_token", "string"))
        if (const std::int32_t id = parts.vocabulary.find(*unknown); id >= 0) source.options.unknown = id;
    source.options.fuse_unknown = reader.flag(model, "fuse_unk");
    source.options.byte_fallback = reader.flag(model, "byte_fallback");
    source.options.ignore_merges = reader.flag(model, "ignore_merges");
    return source;
}

// Gives the token the id of the model's vocabulary when it is a word of it, else the one that it brings.
void add_token(AddedToken token, std::int64_t id, Tokenizer::Parts& parts) {
    if (token.content.empty()) return;
    if (token.content.size() > kMaximumAddedTokenBytes)
        throw_error<BadFileError>("{}: the added token {} has {} bytes, need at most {}", parts.what, id, token.content.size(),
                                  kMaximumAddedTokenBytes);
    token.id = parts.vocabulary.find(token.content);
    if (token.id < 0) {
        parts.vocabulary.add_hidden(id, token.content, parts.what);
        token.id = static_cast<std::int32_t>(id);
    }
    parts.added.push_back(std::move(token));
}

bool is_added(const Tokenizer::Parts& parts, std::string_view content) {
    return std::any_of(parts.added.begin(), parts.added.end(),
                       [&](const AddedToken& token) { return token.content == content; });
}

void read_added_tokens(const Reader& reader, const Object& top, Tokenizer::Parts& parts) {
    const auto list = reader.get<simdjson::dom::array>(top, "added_tokens", "array");
    if (!list) return;
    std::vector<std::string_view> contents;
    for (const Element& element : *list) {
        const Object object = reader.as<Object>(element, "added_tokens", "object");
        AddedToken token;
        token.content = reader.need<std::string_view>(object, "content", "string");
        contents.push_back(reader.need<std::string_view>(object, "content", "string"));
        token.special = reader.flag(object, "special");
        token.single_word = reader.flag(object, "single_word");
        token.left_strip = reader.flag(object, "lstrip");
        token.right_strip = reader.flag(object, "rstrip");
        token.normalized = reader.flag(object, "normalized", !token.special);
        add_token(std::move(token), reader.need<std::int64_t>(object, "id", "integer"), parts);
    }
    std::sort(contents.begin(), contents.end());
    const auto twice = std::adjacent_find(contents.begin(), contents.end());
    if (twice != contents.end()) throw_error<BadFileError>("{}: the added token '{}' comes twice", parts.what, *twice);
}

// A token's text in tokenizer_config.json: a string, or an object with "content".
std::optional<std::string> token_text(const Json& value, std::string_view key, std::string_view what) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_object()) return get_string(value, "content", what);
    if (value.is_null()) return std::nullopt;
    throw_error<BadFileError>("{}: '{}' in tokenizer_config.json is a JSON {}, need a string", what, key, value.type_name());
}

void name_special_token(std::string_view name, const Json& value, Tokenizer::Parts& parts) {
    const std::optional<std::string> text = token_text(value, name, parts.what);
    if (!text || text->empty()) return;
    parts.special_tokens.emplace_back(name, *text);
    if (is_added(parts, *text)) return;
    AddedToken token;
    token.content = *text;
    token.special = true;
    add_token(std::move(token), parts.vocabulary.size(), parts);
}

void read_added_tokens_decoder(const Json& config, Tokenizer::Parts& parts) {
    const Json* tokens = get_object(config, "added_tokens_decoder", parts.what);
    if (!tokens) return;
    // Sorted, so that a repeated content is seen without comparing each with each.
    std::vector<std::string> known;
    for (const AddedToken& token : parts.added) known.push_back(token.content);
    std::sort(known.begin(), known.end());
    for (const auto& [id_text, object] : tokens->items()) {
        if (!object.is_object())
            throw_error<BadFileError>("{}: added_tokens_decoder holds a JSON {}, need objects", parts.what, object.type_name());
        AddedToken token;
        token.content = get_string(object, "content", parts.what).value_or("");
        if (std::binary_search(known.begin(), known.end(), token.content)) continue;
        std::int64_t id = 0;
        const auto [end, error] = std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
        if (error != std::errc() || end != id_text.data() + id_text.size())
            throw_error<BadFileError>("{}: added_tokens_decoder has the key '{}', need an id", parts.what, id_text);
        token.special = get_bool(object, "special", parts.what).value_or(false);
        token.single_word = get_bool(object, "single_word", parts.what).value_or(false);
        token.left_strip = get_bool(object, "lstrip", parts.what).value_or(false);
        token.right_strip = get_bool(object, "rstrip", parts.what).value_or(false);
        token.normalized = get_bool(object, "normalized", parts.what).value_or(!token.special);
        if (!is_added(parts, token.content)) add_token(std::move(token), id, parts);
    }
}

// What transformers changes in the tokenizer because of tokenizer_config.json.
std::optional<PostProcessor> apply_config(const Json& config, Tokenizer::Parts& parts) {
    read_added_tokens_decoder(config, parts);
    for (const std::string_view name : kSpecialTokenNames)
        if (const auto value = config.find(name); value != config.end()) name_special_token(name, *value, parts);
    if (const auto extra = config.find("extra_special_tokens"); extra != config.end() && extra->is_object())
        for (const auto& [name, value] : extra->items()) name_special_token(name, value, parts);
    Json& pre_tokenizer = parts.descriptions.pre_tokenizer;
    if (pre_tokenizer.is_object() && pre_tokenizer.contains("add_prefix_space"))
        pre_tokenizer["add_prefix_space"] = get_bool(config, "add_prefix_space", parts.what).value_or(false);

    const std::string name = get_string(config, "tokenizer_class", parts.what).value_or("");
    constexpr std::array<std::string_view, 6> kRebuilt = {"LlamaTokenizer",         "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                                          "CodeLlamaTokenizerFast", "GemmaTokenizer",     "GemmaTokenizerFast"};
    if (std::find(kRebuilt.begin(), kRebuilt.end(), name) == kRebuilt.end()) return std::nullopt;
    PostProcessor processor;
    const auto add = [&](std::string_view key, bool absent, std::string_view token, std::vector<std::int32_t>& ids) {
        if (!get_bool(config, key, parts.what).value_or(absent)) return;
        const std::optional<std::int32_t> id = parts.special_token_id(token);
        if (!id) throw_error<BadFileError>("{}: tokenizer_config.json sets {}, but no {}", parts.what, key, token);
        ids.push_back(*id);
    };
    add("add_bos_token", true, "bos_token", processor.before);
    add("add_eos_token", false, "eos_token", processor.after);
    return processor;
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json, std::string_view what) {
    const Reader reader(what);
    auto parts = std::make_unique<Parts>();
    parts->what = what;
    std::optional<PostProcessor> post_processor;
    Parts::Source source;
    {
        simdjson::dom::parser parser;
        const simdjson::padded_string padded(tokenizer_json);
        simdjson::error_code error = parser.allocate(tokenizer_json.size(), kMaximumDepth);
        Element document;
        if (error == simdjson::SUCCESS) error = parser.parse(padded).get(document);
        if (error != simdjson::SUCCESS)
            throw_error<BadFileError>("{}: not valid JSON: {}", what, simdjson::error_message(error));
        const Object top = reader.as<Object>(document, "the document", "object");
        source = read_model(reader, reader.need<Object>(top, "model", "object"), *parts);
        read_added_tokens(reader, top, *parts);
        parts->descriptions = {reader.step(top, "normalizer"), reader.step(top, "pre_tokenizer"),
                               reader.step(top, "post_processor"), reader.step(top, "decoder")};
    }
    if (!tokenizer_config_json.empty()) {
        const Json config = parse_json(tokenizer_config_json, what);
        if (!config.is_object())
            throw_error<BadFileError>("{}: tokenizer_config.json is a JSON {}, need an object", what, config.type_name());
        post_processor = apply_config(config, *parts);
    }
    parts->assemble(std::move(source), std::move(post_processor));
    return Tokenizer(std::move(parts));
}

}  // namespace narae
