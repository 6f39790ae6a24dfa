// Pre-tokenizers: cut a normalized stretch of text into the pieces that the model encodes one by one. Immutable; may run
// concurrently. Source: huggingface/tokenizers, pre_tokenizers/.
#pragma once

#include "base/json.h"
#include "text/tokenizer/regex.h"
#include "text/tokenizer/split_patterns.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace narae {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
enum class PrependScheme { always, first, never };

// What a Split looks for: a known expression, another one, a literal text, or characters of a class.
using CharacterClass = bool (*)(char32_t);
using SplitPattern = std::variant<PieceEnd, std::shared_ptr<const Regex>, std::string, CharacterClass>;

struct SplitStep {
    SplitPattern pattern;
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;
};
struct PrefixSpaceStep {};  // a space before every piece that begins with none
struct ByteLevelStep {};    // bytes as characters of the byte-level alphabet
struct MetaspaceStep {
    std::string replacement;
    PrependScheme scheme;
};
using PreTokenizerStep = std::variant<SplitStep, PrefixSpaceStep, ByteLevelStep, MetaspaceStep>;

// Pieces of one text, in order, none empty.
struct Pieces {
    struct Range {
        std::size_t begin, end;
    };
    std::string text;
    std::vector<Range> ranges;

    // One piece, or none for an empty text.
    void assign(std::string_view whole);
};

class PreTokenizer {
public:
    // The "pre_tokenizer" of tokenizer.json, or null. BadFileError naming `what`: an unknown or unsupported one.
    static PreTokenizer parse(const Json& json, std::string_view what);

    // `at_start`: the text begins where the whole input begins.
    void apply(Pieces& pieces, bool at_start) const;
    const std::vector<PreTokenizerStep>& steps() const { return steps_; }

private:
    void add(const Json& json, std::string_view what, int depth);
    void add_split(SplitPattern pattern, SplitBehavior behavior, bool invert = false);

    std::vector<PreTokenizerStep> steps_;
};

}  // namespace narae
