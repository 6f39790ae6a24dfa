// What the names of GGUF's tokenizer.ggml.pre mean, as steps of tokenizer.json. Source: llama.cpp, llama-vocab.cpp, and
// the tokenizer.json files that those names were made from.
#pragma once

#include "text/tokenizer/parts.h"

#include <string>
#include <string_view>
#include <vector>

namespace narae {

struct GgufPreTokenizer {
    std::vector<std::string_view> names;  // the first is the one to write
    Json normalizer, pre_tokenizer;
    bool ignore_merges = false;
    bool add_bos = false;  // when the file does not say
};

// Of byte-level BPE (tokenizer.ggml.model gpt2).
const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers();

// The steps of SentencePiece BPE (tokenizer.ggml.model llama).
StepDescriptions sentencepiece_steps(bool add_space_prefix);

}  // namespace narae
