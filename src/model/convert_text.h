// The parts of a conversion that are not weights: metadata, tokenizer, chat template, generation configuration.
#pragma once

#include "checkpoint/checkpoint.h"
#include "checkpoint/text_files.h"

#include <string>
#include <utility>
#include <vector>

namespace narae {

// Every entry of a GGUF file but those about its split and its old weights' types.
std::vector<MetadataEntry> copy_metadata(const Metadata& metadata);
// Replaces or adds.
void set_metadata(std::vector<MetadataEntry>& metadata, std::string key, MetadataValue value);
// tokenizer.ggml.* and the chat template; `rows` is the embedding's number of rows.
void add_tokenizer_metadata(const ModelText& text, std::size_t rows, std::vector<MetadataEntry>& metadata);

// bos_token_id, eos_token_id, pad_token_id of GGUF metadata into config.json.
void add_token_ids(const Metadata& metadata, Json& config);
Json generation_config(const ModelText& text, const Json& config);
// tokenizer.json and tokenizer_config.json (with the chat template) of a tokenizer; empty without one.
std::vector<std::pair<std::string, std::string>> tokenizer_files(const ModelText& text);
// The tokenizer's files of a Hugging Face folder, as they are.
std::vector<std::pair<std::string, std::string>> copy_text_files(const Path& folder);

}  // namespace narae
