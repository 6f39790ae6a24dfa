#include "text/tokenizer/steps.h"

#include "base/error.h"

namespace narae {

std::string step_type(const Json& step, std::string_view kind, int depth, std::string_view what) {
    constexpr int kDeepest = 16;
    if (depth > kDeepest) throw_error<BadFileError>("{}: {} sequences are nested deeper than {}", what, kind, kDeepest);
    if (!step.is_object()) throw_error<BadFileError>("{}: a {} is a JSON {}, need an object", what, kind, step.type_name());
    return need_string(step, "type", what);
}

void unsupported_step(std::string_view kind, std::string_view type, std::string_view what) {
    throw_error<BadFileError>("{}: the {} '{}' is not supported", what, kind, type);
}

const Json& need_array(const Json& step, std::string_view key, std::string_view what) {
    const Json* array = get_array(step, key, what);
    if (!array) throw_error<BadFileError>("{}: a tokenizer step lacks its array '{}'", what, key);
    return *array;
}

std::string need_string(const Json& step, std::string_view key, std::string_view what) {
    std::optional<std::string> text = get_string(step, key, what);
    if (!text) throw_error<BadFileError>("{}: a tokenizer step lacks its string '{}'", what, key);
    return *std::move(text);
}

std::string need_content(const Json& step, std::string_view key, std::string_view what) {
    constexpr std::size_t kLongest = 1024;
    std::string text = need_string(step, key, what);
    if (text.size() > kLongest)
        throw_error<BadFileError>("{}: a tokenizer step's '{}' has {} bytes, need at most {}", what, key, text.size(),
                                  kLongest);
    return text;
}

StepPattern need_pattern(const Json& step, std::string_view what) {
    const Json* pattern = get_object(step, "pattern", what);
    if (!pattern) throw_error<BadFileError>("{}: a tokenizer step lacks its object 'pattern'", what);
    if (std::optional<std::string> text = get_string(*pattern, "String", what)) return {*std::move(text), false};
    if (std::optional<std::string> text = get_string(*pattern, "Regex", what)) return {*std::move(text), true};
    throw_error<BadFileError>("{}: the pattern of a tokenizer step is neither a String nor a Regex", what);
}

}  // namespace narae
