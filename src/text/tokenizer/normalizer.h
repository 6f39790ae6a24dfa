// Normalizers: what is done to a stretch of text before it is cut into pieces. Immutable; may run concurrently.
// Source: huggingface/tokenizers, normalizers/.
#pragma once

#include "base/json.h"
#include "text/tokenizer/regex.h"
#include "text/unicode.h"

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace narae {

struct UnicodeForm {
    unicode::NormalForm form;
};
struct Lowercase {};
struct StripAccents {};
struct RemoveControls {};  // Nmt
struct ByteLevelCharacters {};
struct StripWhitespace {
    bool left, right;
};
struct PrependText {
    std::string text;
};
struct ReplaceText {
    std::string pattern, content;
};
struct ReplaceRegex {
    Regex pattern;
    std::string content;
};
using NormalizerStep = std::variant<UnicodeForm, Lowercase, StripAccents, RemoveControls, ByteLevelCharacters, StripWhitespace,
                                    PrependText, ReplaceText, ReplaceRegex>;

// A text and, beside each byte when `trust` is not empty, whether a trusted run wrote it ('\1') or not ('\0').
struct TrustedText {
    std::string text;
    std::string trust;
};

class Normalizer {
public:
    // The "normalizer" of tokenizer.json, or null. BadFileError naming `what`: an unknown or unsupported one.
    static Normalizer parse(const Json& json, std::string_view what);

    bool empty() const { return steps_.empty(); }
    // What is made of several bytes is trusted when all of them are; what a step invents is trusted.
    void apply(TrustedText& text) const;
    const std::vector<NormalizerStep>& steps() const { return steps_; }

private:
    void add(const Json& json, std::string_view what, int depth);

    std::vector<NormalizerStep> steps_;
};

}  // namespace narae
