#include "text/tokenizer/pre_tokenizer.h"

#include "base/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/steps.h"
#include "text/unicode.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace narae {
namespace {

bool is_ascii_punctuation(char32_t c) {
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
}
bool is_any_punctuation(char32_t c) { return is_ascii_punctuation(c) || unicode::is_punctuation(c); }
bool is_not_word_nor_space(char32_t c) { return !unicode::is_word(c) && !unicode::is_whitespace(c); }

struct Part {
    std::size_t begin, end;
    bool match;
};

// The parts of text[begin, end): matches, and between them what is none.
void find_parts(const SplitPattern& pattern, std::string_view text, Pieces::Range range, std::vector<Part>& parts) {
    const std::string_view piece = text.substr(range.begin, range.end - range.begin);
    std::size_t done = 0;
    const auto add = [&](std::size_t begin, std::size_t end) {
        if (begin > done) parts.push_back({range.begin + done, range.begin + begin, false});
        parts.push_back({range.begin + begin, range.begin + end, true});
        done = end;
    };
    if (const auto* next = std::get_if<PieceEnd>(&pattern)) {
        for (std::size_t at = 0; at < piece.size();) {
            const std::size_t end = (*next)(piece, at);
            add(at, end);
            at = end;
        }
    } else if (const auto* regex = std::get_if<std::shared_ptr<const Regex>>(&pattern)) {
        (*regex)->for_each(piece, add);
    } else if (const auto* literal = std::get_if<std::string>(&pattern)) {
        for (std::size_t at = 0; (at = piece.find(*literal, at)) != std::string_view::npos; at += literal->size())
            add(at, at + literal->size());
    } else {
        const CharacterClass of_class = std::get<CharacterClass>(pattern);
        for (std::size_t at = 0; at < piece.size();) {
            const unicode::Decoded d = unicode::decode(piece, at);
            if (of_class(d.code_point)) add(at, at + d.length);
            at += d.length;
        }
    }
    if (done < piece.size()) parts.push_back({range.begin + done, range.end, false});
}

void join_parts(SplitBehavior behavior, std::vector<Part>& parts, std::vector<Pieces::Range>& ranges) {
    bool before = false;  // whether the part just seen was a match
    switch (behavior) {
        case SplitBehavior::removed:
            for (const Part& part : parts)
                if (!part.match) ranges.push_back({part.begin, part.end});
            return;
        case SplitBehavior::isolated:
            for (const Part& part : parts) ranges.push_back({part.begin, part.end});
            return;
        case SplitBehavior::contiguous: {
            const std::size_t first = ranges.size();
            for (const Part& part : parts) {
                if (part.match == before && ranges.size() > first) {
                    ranges.back().end = part.end;
                } else {
                    ranges.push_back({part.begin, part.end});
                }
                before = part.match;
            }
            return;
        }
        case SplitBehavior::merged_with_previous: {
            const std::size_t first = ranges.size();
            for (const Part& part : parts) {
                if (part.match && !before && ranges.size() > first) {
                    ranges.back().end = part.end;
                } else {
                    ranges.push_back({part.begin, part.end});
                }
                before = part.match;
            }
            return;
        }
        case SplitBehavior::merged_with_next: {
            const std::size_t first = ranges.size();
            for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
                if (part->match && !before && ranges.size() > first) {
                    ranges.back().begin = part->begin;
                } else {
                    ranges.push_back({part->begin, part->end});
                }
                before = part->match;
            }
            std::reverse(ranges.begin() + static_cast<std::ptrdiff_t>(first), ranges.end());
            return;
        }
    }
}

void apply_step(const SplitStep& step, Pieces& pieces, bool) {
    std::vector<Pieces::Range> ranges;
    ranges.reserve(pieces.ranges.size());
    if (const auto* next = std::get_if<PieceEnd>(&step.pattern);
        next && step.behavior == SplitBehavior::isolated) {  // the usual case, without the detour
        for (const Pieces::Range& range : pieces.ranges) {
            const std::string_view piece = std::string_view(pieces.text).substr(range.begin, range.end - range.begin);
            for (std::size_t at = 0; at < piece.size();) {
                const std::size_t end = (*next)(piece, at);
                ranges.push_back({range.begin + at, range.begin + end});
                at = end;
            }
        }
        pieces.ranges = std::move(ranges);
        return;
    }
    std::vector<Part> parts;
    for (const Pieces::Range& range : pieces.ranges) {
        parts.clear();
        find_parts(step.pattern, pieces.text, range, parts);
        if (step.invert)
            for (Part& part : parts) part.match = !part.match;
        join_parts(step.behavior, parts, ranges);
    }
    pieces.ranges = std::move(ranges);
}

// Writes every piece anew.
template <class Each>
void rewrite(Pieces& pieces, Each&& each) {
    std::string out;
    out.reserve(pieces.text.size() + pieces.text.size() / 2);
    for (Pieces::Range& range : pieces.ranges) {
        const std::size_t begin = out.size();
        each(out, std::string_view(pieces.text).substr(range.begin, range.end - range.begin), range.begin);
        range = {begin, out.size()};
    }
    pieces.text = std::move(out);
}

void apply_step(const PrefixSpaceStep&, Pieces& pieces, bool) {
    rewrite(pieces, [](std::string& out, std::string_view piece, std::size_t) {
        if (!piece.starts_with(' ')) out += ' ';
        out += piece;
    });
}

void apply_step(const ByteLevelStep&, Pieces& pieces, bool) {
    rewrite(pieces, [](std::string& out, std::string_view piece, std::size_t) { append_byte_level(out, piece); });
}

void apply_step(const MetaspaceStep& step, Pieces& pieces, bool at_start) {
    rewrite(pieces, [&](std::string& out, std::string_view piece, std::size_t begin) {
        const bool prepends =
            step.scheme == PrependScheme::always || (step.scheme == PrependScheme::first && at_start && begin == 0);
        if (prepends && !piece.starts_with(' ') && !piece.starts_with(step.replacement)) out += step.replacement;
        for (const char byte : piece) {
            if (byte == ' ') {
                out += step.replacement;
            } else {
                out += byte;
            }
        }
    });
}

SplitBehavior parse_behavior(const Json& json, std::optional<SplitBehavior> absent, std::string_view what) {
    const std::optional<std::string> name = get_string(json, "behavior", what);
    if (!name && absent) return *absent;
    if (name == "Removed") return SplitBehavior::removed;
    if (name == "Isolated") return SplitBehavior::isolated;
    if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
    if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
    if (name == "Contiguous") return SplitBehavior::contiguous;
    throw_error<BadFileError>(
        "{}: a Split's behavior is '{}', need Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", what,
        name.value_or("absent"));
}

SplitPattern parse_pattern(const Json& json, std::string_view what) {
    const StepPattern pattern = need_pattern(json, what);
    if (!pattern.is_regex) {
        if (pattern.text.empty()) throw_error<BadFileError>("{}: a Split has an empty pattern", what);
        return pattern.text;
    }
    if (const PieceEnd known = find_split_pattern(pattern.text)) return known;
    return std::make_shared<const Regex>(portable_regex(pattern.text), what);
}

PrependScheme parse_scheme(const Json& json, std::string_view what) {
    const std::optional<std::string> name = get_string(json, "prepend_scheme", what);
    if (!name) return get_bool(json, "add_prefix_space", what).value_or(true) ? PrependScheme::always : PrependScheme::never;
    if (name == "always") return PrependScheme::always;
    if (name == "first") return PrependScheme::first;
    if (name == "never") return PrependScheme::never;
    throw_error<BadFileError>("{}: a Metaspace's prepend_scheme is '{}', need always, first or never", what, *name);
}

}  // namespace

void Pieces::assign(std::string_view whole) {
    text.assign(whole);
    ranges.clear();
    if (!whole.empty()) ranges.push_back({0, whole.size()});
}

PreTokenizer PreTokenizer::parse(const Json& json, std::string_view what) {
    PreTokenizer pre_tokenizer;
    if (!json.is_null()) pre_tokenizer.add(json, what, 0);
    return pre_tokenizer;
}

void PreTokenizer::add_split(SplitPattern pattern, SplitBehavior behavior, bool invert) {
    steps_.emplace_back(SplitStep{std::move(pattern), behavior, invert});
}

void PreTokenizer::add(const Json& json, std::string_view what, int depth) {
    const std::string type = step_type(json, "pre-tokenizer", depth, what);
    if (type == "Sequence") {
        for (const Json& step : need_array(json, "pretokenizers", what)) add(step, what, depth + 1);
    } else if (type == "ByteLevel") {
        if (get_bool(json, "add_prefix_space", what).value_or(true)) steps_.emplace_back(PrefixSpaceStep{});
        if (get_bool(json, "use_regex", what).value_or(true)) add_split(PieceEnd{gpt2_piece_end}, SplitBehavior::isolated);
        steps_.emplace_back(ByteLevelStep{});
    } else if (type == "Split") {
        add_split(parse_pattern(json, what), parse_behavior(json, std::nullopt, what),
                  get_bool(json, "invert", what).value_or(false));
    } else if (type == "Digits") {
        const bool individual = get_bool(json, "individual_digits", what).value_or(false);
        add_split(CharacterClass{unicode::is_number}, individual ? SplitBehavior::isolated : SplitBehavior::contiguous);
    } else if (type == "Punctuation") {
        add_split(CharacterClass{is_any_punctuation}, parse_behavior(json, SplitBehavior::isolated, what));
    } else if (type == "Whitespace") {  // \w+|[^\w\s]+
        add_split(CharacterClass{unicode::is_whitespace}, SplitBehavior::removed);
        add_split(CharacterClass{is_not_word_nor_space}, SplitBehavior::contiguous);
    } else if (type == "WhitespaceSplit") {
        add_split(CharacterClass{unicode::is_whitespace}, SplitBehavior::removed);
    } else if (type == "BertPreTokenizer") {
        add_split(CharacterClass{unicode::is_whitespace}, SplitBehavior::removed);
        add_split(CharacterClass{is_any_punctuation}, SplitBehavior::isolated);
    } else if (type == "CharDelimiterSplit") {
        const std::string delimiter = need_string(json, "delimiter", what);
        if (delimiter.empty()) throw_error<BadFileError>("{}: a CharDelimiterSplit has an empty delimiter", what);
        add_split(delimiter, SplitBehavior::removed);
    } else if (type == "Metaspace") {
        const std::string replacement = get_string(json, "replacement", what).value_or("\u2581");
        if (replacement.empty() || unicode::decode(replacement, 0).length != replacement.size())
            throw_error<BadFileError>("{}: a Metaspace's replacement is '{}', need one character", what, replacement);
        steps_.emplace_back(MetaspaceStep{replacement, parse_scheme(json, what)});
        if (get_bool(json, "split", what).value_or(true)) add_split(replacement, SplitBehavior::merged_with_next);
    } else {
        unsupported_step("pre-tokenizer", type, what);
    }
}

void PreTokenizer::apply(Pieces& pieces, bool at_start) const {
    for (const PreTokenizerStep& step : steps_) std::visit([&](const auto& s) { apply_step(s, pieces, at_start); }, step);
}

}  // namespace narae
