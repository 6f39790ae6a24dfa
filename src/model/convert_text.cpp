#include "model/convert_text.h"

#include "base/error.h"
#include "base/log.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

std::optional<MetadataValue> owned_value(const Metadata& metadata, const Metadata::Entry& entry) {
    using Type = Metadata::Type;
    switch (entry.value.type) {
        case Type::boolean:
            return *metadata.get_bool(entry.key);
        case Type::string:
            return std::string(*metadata.get_string(entry.key));
        case Type::f32:
            return static_cast<float>(*metadata.get_double(entry.key));
        case Type::u8:
        case Type::u16:
        case Type::u32:
            return static_cast<std::uint32_t>(*metadata.get_int(entry.key));
        case Type::i8:
        case Type::i16:
        case Type::i32:
            return static_cast<std::int32_t>(*metadata.get_int(entry.key));
        case Type::u64:
            return static_cast<std::uint64_t>(*metadata.get_int(entry.key));
        case Type::array:
            break;
        default:
            return std::nullopt;
    }
    if (entry.value.element == Type::string) {
        const auto views = *metadata.get_strings(entry.key);
        return std::vector<std::string>(views.begin(), views.end());
    }
    if (entry.value.element == Type::f32) return *metadata.get_floats(entry.key);
    if (entry.value.element == Type::i32 || entry.value.element == Type::u32) {
        const auto wide = *metadata.get_ints(entry.key);
        return std::vector<std::int32_t>(wide.begin(), wide.end());
    }
    return std::nullopt;
}

}  // namespace

std::vector<MetadataEntry> copy_metadata(const Metadata& metadata) {
    std::vector<MetadataEntry> copy;
    for (const Metadata::Entry& entry : metadata.entries()) {
        if (entry.key.starts_with("split.") || entry.key == "general.file_type" || entry.key == "general.alignment") continue;
        if (auto value = owned_value(metadata, entry))
            copy.push_back({std::string(entry.key), std::move(*value)});
        else
            log_warning("{}: metadata {} has a type that is not copied", metadata.what, entry.key);
    }
    return copy;
}

void set_metadata(std::vector<MetadataEntry>& metadata, std::string key, MetadataValue value) {
    const auto found =
        std::find_if(metadata.begin(), metadata.end(), [&](const MetadataEntry& entry) { return entry.key == key; });
    if (found != metadata.end())
        found->value = std::move(value);
    else
        metadata.push_back({std::move(key), std::move(value)});
}

void add_tokenizer_metadata(const ModelText& text, std::size_t rows, std::vector<MetadataEntry>& metadata) {
    if (!text.tokenizer) return;
    const GgufVocabulary v = text.tokenizer->to_gguf(rows);
    const auto add = [&](std::string_view key, MetadataValue value) {
        metadata.push_back({"tokenizer.ggml." + std::string(key), std::move(value)});
    };
    add("model", v.model);
    if (!v.pre.empty()) add("pre", v.pre);
    add("tokens", std::vector<std::string>(v.tokens.begin(), v.tokens.end()));
    if (!v.token_types.empty()) add("token_type", v.token_types);
    if (!v.scores.empty()) add("scores", v.scores);
    if (!v.merges.empty()) add("merges", std::vector<std::string>(v.merges.begin(), v.merges.end()));
    const auto add_id = [&](std::string_view key, const std::optional<std::int32_t>& id) {
        if (id) add(key, static_cast<std::uint32_t>(*id));
    };
    add_id("bos_token_id", v.bos);
    add_id("eos_token_id", v.eos);
    add_id("unknown_token_id", v.unknown);
    add_id("padding_token_id", v.padding);
    add_id("eot_token_id", v.eot);
    add_id("eom_token_id", v.eom);
    if (v.add_bos) add("add_bos_token", *v.add_bos);
    if (v.add_eos) add("add_eos_token", *v.add_eos);
    if (v.add_space_prefix) add("add_space_prefix", *v.add_space_prefix);
    if (!text.chat_template.empty()) metadata.push_back({"tokenizer.chat_template", text.chat_template});
}

void add_token_ids(const Metadata& metadata, Json& config) {
    for (const auto& [key, name] :
         {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"}, std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
          std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}})
        if (const auto id = metadata.get_int(key)) config[name] = *id;
}

Json generation_config(const ModelText& text, const Json& config) {
    Json result = Json::object();
    for (const char* key : {"bos_token_id", "pad_token_id"})
        if (config.contains(key)) result[key] = config[key];
    if (text.end_ids.size() == 1)
        result["eos_token_id"] = text.end_ids.front();
    else if (!text.end_ids.empty())
        result["eos_token_id"] = text.end_ids;
    return result;
}

std::vector<std::pair<std::string, std::string>> tokenizer_files(const ModelText& text) {
    if (!text.tokenizer) return {};
    return {{"tokenizer.json", text.tokenizer->to_tokenizer_json()},
            {"tokenizer_config.json", text.tokenizer->to_tokenizer_config_json(text.chat_template)}};
}

std::vector<std::pair<std::string, std::string>> copy_text_files(const Path& folder) {
    static constexpr std::array names = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt",     "tokenizer.model",       "chat_template.jinja",     "chat_template.json"};
    std::vector<std::pair<std::string, std::string>> files;
    for (const char* name : names)
        if (file_system().is_file(folder / name)) files.emplace_back(name, read_text_file(folder / name));
    return files;
}

}  // namespace narae
