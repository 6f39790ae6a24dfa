// The request's JSON as values.
#pragma once

#include "base/json.h"
#include "text/jinja/value.h"

namespace narae::jinja {

// Fails for invalid UTF-8, integers over 63 bits and nesting over the limit.
Value from_json(Runtime& runtime, const Json& json, bool trusted);

// A list of chat messages: not trusted, but for the value of "role" when it is one of the well-known roles, since
// templates make special tokens of it ('<|' + role + '|>').
Value from_json_messages(Runtime& runtime, const Json& messages);

}  // namespace narae::jinja
