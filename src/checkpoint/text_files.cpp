#include "checkpoint/text_files.h"

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/special_tokens.h"
#include "checkpoint/vocabulary_files.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <limits>

namespace narae {
namespace {

constexpr std::uint64_t kTokenizerLimit = std::uint64_t{256} << 20;
constexpr std::uint64_t kTokenizerConfigLimit = std::uint64_t{16} << 20;
constexpr std::uint64_t kTemplateLimit = std::uint64_t{1} << 20;
constexpr std::string_view kTokenizerFile = "tokenizer.json", kTokenizerConfigFile = "tokenizer_config.json";
constexpr std::string_view kTemplateFile = "chat_template.jinja";

bool has_file(const Path& folder, std::string_view name) { return file_system().is_file(folder / name); }

void add_end_id(ModelText& text, std::int64_t id, std::string_view what) {
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max())
        throw_error<BadFileError>("{}: \"eos_token_id\": found {}, need a token's id", what, id);
    text.end_ids.push_back(static_cast<std::int32_t>(id));
}

// eos_token_id: a number or a list of them.
void add_end_ids(ModelText& text, const Json& config, std::string_view what) {
    if (!config.is_object()) return;
    const auto ids = config.find("eos_token_id");
    if (ids == config.end() || !ids->is_array()) {
        if (const auto id = get_int(config, "eos_token_id", what)) add_end_id(text, *id, what);
        return;
    }
    for (const Json& id : *ids) {
        if (!id.is_number_integer())
            throw_error<BadFileError>("{}: \"eos_token_id\": found {}, need whole numbers", what, dump_json(id));
        add_end_id(text, id.get<std::int64_t>(), what);
    }
}

void finish(ModelText& text) {
    if (text.tokenizer) {
        const auto ends = text.tokenizer->end_of_generation();
        text.end_ids.insert(text.end_ids.end(), ends.begin(), ends.end());
        for (const auto& [name, token] : text.tokenizer->special_tokens())
            if (!text.special_tokens.contains(name)) text.special_tokens[name] = token;
    }
    std::ranges::sort(text.end_ids);
    text.end_ids.erase(std::ranges::unique(text.end_ids).begin(), text.end_ids.end());
}

// ---- Hugging Face folder -----------------------------------------------------------------------------------------------

// "default" and "tool_use" of a template member: a string, a list of {name, template}, or an object of names.
void take_templates(ModelText& text, const Json& value, std::string_view what) {
    const auto take = [&](std::string_view name, const Json& source) {
        if (!source.is_string()) throw_error<BadFileError>("{}: \"chat_template\": template \"{}\" is no string", what, name);
        if (name == "default") text.chat_template = source.get<std::string>();
        if (name == "tool_use") text.tool_template = source.get<std::string>();
    };
    if (value.is_string()) {
        take("default", value);
    } else if (value.is_array()) {
        for (const Json& each : value) {
            const auto name = get_string(each, "name", what);
            if (!name || !each.contains("template"))
                throw_error<BadFileError>("{}: \"chat_template\": found {}, need objects with name and template", what,
                                          dump_json(each));
            take(*name, each["template"]);
        }
    } else if (value.is_object()) {
        for (const auto& [name, source] : value.items()) take(name, source);
    } else if (!value.is_null()) {
        throw_error<BadFileError>("{}: \"chat_template\": need a string or a list of templates", what);
    }
}

void load_templates(ModelText& text, const Path& folder, const Json& config) {
    if (has_file(folder, kTemplateFile)) {
        text.chat_template = read_text_file(folder / kTemplateFile, kTemplateLimit);
    } else if (config.is_object() && config.contains("chat_template")) {
        take_templates(text, config["chat_template"], (folder / kTokenizerConfigFile).string());
    } else if (const Json document = read_folder_json(folder, "chat_template.json", kTemplateLimit);
               document.contains("chat_template")) {
        take_templates(text, document["chat_template"], (folder / "chat_template.json").string());
    }
    if (const Path tools = Path("additional_chat_templates") / "tool_use.jinja"; has_file(folder, tools.string()))
        text.tool_template = read_text_file(folder / tools, kTemplateLimit);
}

// tokenizer_config.json, with what only special_tokens_map.json says.
Json read_tokenizer_config(const Path& folder) {
    Json config = read_folder_json(folder, kTokenizerConfigFile, kTokenizerConfigLimit);
    const Json map = read_folder_json(folder, "special_tokens_map.json");
    if (config.is_null()) config = Json::object();
    for (const auto& [key, value] : map.items())
        if (!config.contains(key)) config[key] = value;
    return config;
}

Tokenizer make_tokenizer(const Path& folder, const Json& config) {
    const std::string config_text = config.empty() ? "" : config.dump();
    if (has_file(folder, kTokenizerFile)) {
        const Path path = folder / kTokenizerFile;
        const MappedFile file(path);
        if (file.bytes().size() > kTokenizerLimit)
            throw_error<BadFileError>("{}: has {} bytes, need at most {}", path.string(), file.bytes().size(), kTokenizerLimit);
        return Tokenizer::from_json(file.text(), config_text, path.string());
    }
    if (has_file(folder, "merges.txt"))
        return Tokenizer::from_json(tokenizer_json_of_vocabulary(folder, config), config_text,
                                    (folder / "vocab.json").string());
    if (has_file(folder, "tokenizer.model"))
        throw_error<BadFileError>(
            "{}: a SentencePiece tokenizer.model without tokenizer.json is not supported; save the tokenizer again "
            "with transformers",
            folder.string());
    throw_error<BadFileError>("{}: no tokenizer.json; commands that take token ids (--ids) work without it", folder.string());
}

ModelText load_folder_text(const Path& folder, const Json& config, Json generation_config) {
    ModelText text;
    Json tokenizer_config = Json::object();
    try {
        tokenizer_config = read_tokenizer_config(folder);
        text.tokenizer = std::make_unique<Tokenizer>(make_tokenizer(folder, tokenizer_config));
    } catch (const BadFileError& error) {
        text.missing = error.what();
    }
    text.special_tokens = special_token_texts(tokenizer_config);
    load_templates(text, folder, tokenizer_config);
    add_end_ids(text, generation_config, (folder / kGenerationConfigFile).string());
    add_end_ids(text, config, (folder / kConfigFile).string());
    text.generation_config = std::move(generation_config);
    finish(text);
    return text;
}

// ---- GGUF ------------------------------------------------------------------------------------------------------------

std::optional<std::int32_t> token_id(const Metadata& metadata, std::string_view key) {
    const auto id = metadata.get_int(key);
    if (!id) return std::nullopt;
    // llama.cpp writes -1 (as u32 too) for a token that there is not.
    if (*id == -1 || *id == std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    if (*id < 0 || *id > std::numeric_limits<std::int32_t>::max())
        throw_error<BadFileError>("{}: metadata \"{}\": found {}, need a token's id", metadata.what, key, *id);
    return static_cast<std::int32_t>(*id);
}

GgufVocabulary read_vocabulary(const Metadata& metadata) {
    GgufVocabulary vocabulary;
    const auto model = metadata.get_string("tokenizer.ggml.model");
    if (!model || *model == "none")
        throw_error<BadFileError>("{}: no tokenizer; commands that take token ids (--ids) work without it", metadata.what);
    vocabulary.model = *model;
    vocabulary.pre = metadata.get_string("tokenizer.ggml.pre").value_or("");
    auto tokens = metadata.get_strings("tokenizer.ggml.tokens");
    if (!tokens) throw_error<BadFileError>("{}: metadata \"tokenizer.ggml.tokens\" is missing", metadata.what);
    vocabulary.tokens = std::move(*tokens);
    vocabulary.merges = metadata.get_strings("tokenizer.ggml.merges").value_or(std::vector<std::string_view>{});
    vocabulary.scores = metadata.get_floats("tokenizer.ggml.scores").value_or(std::vector<float>{});
    const auto types = metadata.get_ints("tokenizer.ggml.token_type").value_or(std::vector<std::int64_t>{});
    for (const std::int64_t type : types) {
        if (type < 0 || type > std::numeric_limits<std::int32_t>::max())
            throw_error<BadFileError>("{}: metadata \"tokenizer.ggml.token_type\": found {}, need 1 to 6", metadata.what, type);
        vocabulary.token_types.push_back(static_cast<std::int32_t>(type));
    }
    vocabulary.bos = token_id(metadata, "tokenizer.ggml.bos_token_id");
    vocabulary.eos = token_id(metadata, "tokenizer.ggml.eos_token_id");
    vocabulary.unknown = token_id(metadata, "tokenizer.ggml.unknown_token_id");
    vocabulary.padding = token_id(metadata, "tokenizer.ggml.padding_token_id");
    vocabulary.eot = token_id(metadata, "tokenizer.ggml.eot_token_id");
    vocabulary.eom = token_id(metadata, "tokenizer.ggml.eom_token_id");
    vocabulary.add_bos = metadata.get_bool("tokenizer.ggml.add_bos_token");
    vocabulary.add_eos = metadata.get_bool("tokenizer.ggml.add_eos_token");
    vocabulary.add_space_prefix = metadata.get_bool("tokenizer.ggml.add_space_prefix");
    return vocabulary;
}

ModelText load_gguf_text(const Metadata& metadata) {
    ModelText text;
    const auto chat_template = [&](std::string_view key) -> std::string {
        const std::string_view source = metadata.get_string(key).value_or("");
        if (source.size() > kTemplateLimit)
            throw_error<BadFileError>("{}: metadata \"{}\": {} bytes, need at most {}", metadata.what, key, source.size(),
                                      kTemplateLimit);
        return std::string(source);
    };
    text.chat_template = chat_template("tokenizer.chat_template");
    text.tool_template = chat_template("tokenizer.chat_template.tool_use");
    try {
        const GgufVocabulary vocabulary = read_vocabulary(metadata);
        const auto name = [&](const char* key, std::optional<std::int32_t> id) {
            if (id && static_cast<std::size_t>(*id) < vocabulary.tokens.size())
                text.special_tokens[key] = std::string(vocabulary.tokens[static_cast<std::size_t>(*id)]);
        };
        name("bos_token", vocabulary.bos);
        name("eos_token", vocabulary.eos);
        name("unk_token", vocabulary.unknown);
        name("pad_token", vocabulary.padding);
        for (const auto id : {vocabulary.eos, vocabulary.eot, vocabulary.eom})
            if (id) text.end_ids.push_back(*id);
        text.tokenizer = std::make_unique<Tokenizer>(Tokenizer::from_gguf(vocabulary, metadata.what));
    } catch (const BadFileError& error) {
        text.missing = error.what();
    }
    finish(text);
    return text;
}

}  // namespace

ModelText::ModelText() = default;
ModelText::ModelText(ModelText&&) noexcept = default;
ModelText& ModelText::operator=(ModelText&&) noexcept = default;
ModelText::~ModelText() = default;

const Tokenizer& ModelText::require_tokenizer() const {
    if (!tokenizer) throw BadFileError(missing);
    return *tokenizer;
}

ModelText load_model_text(const Path& path) {
    if (file_system().is_directory(path)) {
        if (!is_model_folder(path)) refuse_folder(path);
        return load_folder_text(path, read_folder_json(path, kConfigFile), read_folder_json(path, kGenerationConfigFile));
    }
    const MappedFile file(path);
    return load_gguf_text(parse_gguf_metadata(file.bytes(), path.string()));
}

ModelText load_model_text(const Checkpoint& checkpoint) {
    if (checkpoint.naming == Naming::gguf) return load_gguf_text(checkpoint.metadata);
    return load_folder_text(checkpoint.path, checkpoint.config, checkpoint.generation_config);
}

}  // namespace narae
