// Tokenizers of old folders, which have vocab.json and merges.txt (GPT-2's kind of BPE) in place of tokenizer.json.
#pragma once

#include "base/file.h"
#include "base/json.h"

#include <string>

namespace narae {

// The tokenizer.json that transformers would make of the folder's vocab.json and merges.txt; `config` is
// tokenizer_config.json with special_tokens_map.json in it. BadFileError: damaged files.
std::string tokenizer_json_of_vocabulary(const Path& folder, const Json& config);

}  // namespace narae
