// The text half of a model: tokenizer, chat template, special tokens, from a Hugging Face folder or GGUF metadata. Works on a
// folder with tokenizer files alone, and never reads weights.
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace narae {

class Tokenizer;

struct ModelText {
    ModelText();
    ModelText(ModelText&&) noexcept;
    ModelText& operator=(ModelText&&) noexcept;
    ~ModelText();

    std::unique_ptr<Tokenizer> tokenizer;  // null: `missing` says why
    std::string missing;                   // "no tokenizer.json in FOLDER", "tokenizer kind unigram is not supported"
    std::string chat_template;             // source; empty: none
    std::string tool_template;             // source of the one to use when tools are given; empty: chat_template
    Json special_tokens = Json::object();  // {"bos_token": "<s>", "eos_token": ...}, variables of the template
    std::vector<std::int32_t> end_ids;     // ids that end an answer, ascending: the tokenizer's eos, generation_config's, eot
    Json generation_config;                // null when absent

    // The tokenizer, or BadFileError with `missing` (a tokenizer that is not known blocks only the verbs that take text).
    const Tokenizer& require_tokenizer() const;
};

// From a resolved path (folder or .gguf). A fault of the tokenizer's files becomes `missing`; damaged configurations are
// BadFileError, unreadable files IoError.
ModelText load_model_text(const Path& path);
// The same when the checkpoint is already open (GGUF metadata is not parsed twice).
ModelText load_model_text(const Checkpoint& checkpoint);

}  // namespace narae
