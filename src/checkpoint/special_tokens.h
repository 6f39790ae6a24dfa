// The special tokens that a configuration names.
#pragma once

#include "base/json.h"

namespace narae {

// {"bos_token": "<s>", ..., "additional_special_tokens": [...]}: the members of tokenizer_config.json (or
// special_tokens_map.json) that name special tokens, as texts. A token is a string or an object with "content"; null and
// members of another kind are left out.
Json special_token_texts(const Json& config);

}  // namespace narae
