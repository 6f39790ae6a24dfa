// Post-processors: what is put before and after the ids of one text, when special tokens are asked for.
// Source: huggingface/tokenizers, processors/.
#pragma once

#include "base/json.h"
#include "text/tokenizer/vocabulary.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace narae {

struct PostProcessor {
    std::vector<std::int32_t> before, after;

    // The "post_processor" of tokenizer.json, or null. BadFileError naming `what`: an unknown one, an id that is no token.
    static PostProcessor parse(const Json& json, const Vocabulary& vocabulary, std::string_view what);

    // The same as a "post_processor" of tokenizer.json; null when it adds nothing.
    Json to_json(const Vocabulary& vocabulary) const;
};

}  // namespace narae
