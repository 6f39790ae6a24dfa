// What a Tokenizer is made of, and how the two ways of making one (tokenizer.json, GGUF) end in the same assembly.
#pragma once

#include "base/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/post_processor.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/tokenizer/token_decoder.h"
#include "text/tokenizer/vocabulary.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace narae {

// The steps as tokenizer.json writes them; each null or an object.
struct StepDescriptions {
    Json normalizer, pre_tokenizer, post_processor, decoder;
};

struct Tokenizer::Parts {
    std::string what;  // names the tokenizer in errors
    Vocabulary vocabulary;
    std::vector<AddedToken> added;
    std::vector<bool> special;  // by id
    Bpe bpe;
    StepDescriptions descriptions;
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    PostProcessor post_processor;
    DecoderSteps decoder;
    AddedTokenTrie raw_tokens, normalized_tokens;

    std::optional<std::int32_t> bos, eos;
    std::vector<std::int32_t> end_of_generation;
    std::vector<std::pair<std::string, std::string>> special_tokens;  // bos_token: <s>

    // What was read, before the parts are joined.
    struct Source {
        std::vector<MergedPair> merges;
        BpeOptions options;
    };
    // Fills everything that follows from what, vocabulary, added (ids final) and descriptions; the post-processor only
    // when `post_processor` is not given. BadFileError.
    void assemble(Source source, std::optional<PostProcessor> post_processor);

    // The id that `name` (bos_token) stands for.
    std::optional<std::int32_t> special_token_id(std::string_view name) const;
    std::optional<std::int32_t> find(std::string_view piece) const;
};

}  // namespace narae
