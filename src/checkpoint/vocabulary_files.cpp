#include "checkpoint/vocabulary_files.h"

#include "base/error.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/special_tokens.h"

#include <algorithm>
#include <map>

namespace narae {
namespace {

constexpr std::uint64_t kVocabularyLimit = std::uint64_t{16} << 20;

Json read_merges(const Path& path) {
    Json merges = Json::array();
    const std::string text = read_text_file(path, kVocabularyLimit);
    std::string_view rest = text;
    if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
    for (std::size_t line = 1; !rest.empty(); ++line) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view pair = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (pair.ends_with('\r')) pair.remove_suffix(1);
        if (pair.empty() || (line == 1 && pair.starts_with("#version"))) continue;
        if (std::ranges::count(pair, ' ') != 1)
            throw_error<BadFileError>("{}: line {}: found \"{}\", need two tokens with one space between", path.string(), line,
                                      pair);
        merges.push_back(std::string(pair));
    }
    return merges;
}

std::int64_t id_of(const Json& id, std::string_view token, const Path& path) {
    if (!id.is_number_integer()) throw_error<BadFileError>("{}: the id of \"{}\" is no integer", path.string(), token);
    return id.get<std::int64_t>();
}

// Special tokens that the vocabulary holds, then those of added_tokens.json; ascending by id.
Json added_tokens(const Path& folder, const Json& config, const Json& vocabulary) {
    std::map<std::int64_t, Json> by_id;
    const auto add = [&](const std::string& content, std::int64_t id, bool special) {
        by_id.try_emplace(id, Json{{"id", id},
                                   {"content", content},
                                   {"single_word", false},
                                   {"lstrip", false},
                                   {"rstrip", false},
                                   {"normalized", !special},
                                   {"special", special}});
    };
    const Json extra = read_folder_json(folder, "added_tokens.json");
    const Json texts = special_token_texts(config);
    for (const auto& [name, content] : texts.items()) {
        if (!content.is_string()) continue;
        const auto token = content.get<std::string>();
        if (const auto entry = vocabulary.find(token); entry != vocabulary.end())
            add(token, id_of(*entry, token, folder / "vocab.json"), true);
        else if (extra.is_object() && extra.contains(token))
            add(token, id_of(extra[token], token, folder / "added_tokens.json"), true);
    }
    for (const auto& [token, id] : extra.items()) add(token, id_of(id, token, folder / "added_tokens.json"), false);
    Json list = Json::array();
    for (auto& [id, token] : by_id) list.push_back(std::move(token));
    return list;
}

// Adds BOS when the configuration asks for it (OPT).
Json post_processor(const Json& config, const Json& added, std::string_view what) {
    const Json byte_level{{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
    const Json texts = special_token_texts(config);
    if (!get_bool(config, "add_bos_token", what).value_or(false) || !texts.contains("bos_token")) return byte_level;
    const std::string token = texts["bos_token"].get<std::string>();
    const auto entry = std::ranges::find_if(added, [&](const Json& each) { return each["content"] == token; });
    if (entry == added.end()) throw_error<BadFileError>("{}: \"bos_token\": \"{}\" is not in vocab.json", what, token);
    const Json special{{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
    const auto sequence = [](const char* name) { return Json{{"Sequence", {{"id", name}, {"type_id", 0}}}}; };
    return Json{{"type", "TemplateProcessing"},
                {"single", Json::array({special, sequence("A")})},
                {"pair", Json::array({special, sequence("A"), special, sequence("B")})},
                {"special_tokens",
                 {{token, {{"id", token}, {"ids", Json::array({(*entry)["id"]})}, {"tokens", Json::array({token})}}}}}};
}

}  // namespace

std::string tokenizer_json_of_vocabulary(const Path& folder, const Json& config) {
    const std::string what = (folder / "tokenizer_config.json").string();
    const Json vocabulary = read_folder_json(folder, "vocab.json", kVocabularyLimit);
    if (!vocabulary.is_object())
        throw_error<BadFileError>("{}: no tokenizer.json, and no vocab.json beside merges.txt", folder.string());
    const Json added = added_tokens(folder, config, vocabulary);
    const bool prefix_space = get_bool(config, "add_prefix_space", what).value_or(false);
    Json result;
    result["version"] = "1.0";
    result["truncation"] = nullptr;
    result["padding"] = nullptr;
    result["added_tokens"] = added;
    result["normalizer"] = nullptr;
    result["pre_tokenizer"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", true}};
    result["post_processor"] = post_processor(config, added, what);
    result["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    result["model"] = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", ""},
                       {"end_of_word_suffix", ""},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"vocab", vocabulary},
                       {"merges", read_merges(folder / "merges.txt")}};
    return result.dump();
}

}  // namespace narae
