// Reading the small objects of tokenizer.json that say its steps: {"type": "Split", "pattern": ..., ...}. All errors are
// BadFileError naming `what`.
#pragma once

#include "base/json.h"

#include <string>
#include <string_view>

namespace narae {

// The "type" of a step object; `kind` (normalizer, decoder, ...) names it in errors. Sequences may be 16 deep.
std::string step_type(const Json& step, std::string_view kind, int depth, std::string_view what);
[[noreturn]] void unsupported_step(std::string_view kind, std::string_view type, std::string_view what);

const Json& need_array(const Json& step, std::string_view key, std::string_view what);
std::string need_string(const Json& step, std::string_view key, std::string_view what);
// A text that a step puts into others: at most 1 KiB, so that no file makes texts grow without measure.
std::string need_content(const Json& step, std::string_view key, std::string_view what);

// "pattern": {"String": text} or {"Regex": text}.
struct StepPattern {
    std::string text;
    bool is_regex = false;
};
StepPattern need_pattern(const Json& step, std::string_view what);

}  // namespace narae
