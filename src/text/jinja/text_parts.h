// Work on texts that keeps track of where each byte comes from.
#pragma once

#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"
#include "text/tagged_text.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace narae::jinja {

inline constexpr std::size_t kToEnd = static_cast<std::size_t>(-1);

// A text that grows, within the limit of a string and charged against the rendering's memory.
class TextBuilder {
public:
    explicit TextBuilder(Runtime& runtime) : runtime_(runtime) {}
    ~TextBuilder() { runtime_.give(charged_); }
    TextBuilder(const TextBuilder&) = delete;
    TextBuilder& operator=(const TextBuilder&) = delete;

    void append(std::string_view text, bool trusted);
    void append(const TaggedText& text, std::size_t begin = 0, std::size_t end = kToEnd);
    const TaggedText& text() const { return text_; }
    TaggedText take();

private:
    void prepare(std::size_t bytes);

    Runtime& runtime_;
    TaggedText text_;
    std::size_t charged_ = 0;
};

// Adds bytes [begin, end) of `from`.
void append_part(TaggedText& into, const TaggedText& from, std::size_t begin = 0, std::size_t end = kToEnd);
TaggedText part(const TaggedText& from, std::size_t begin, std::size_t end = kToEnd);
TaggedText tagged(std::string_view text, bool trusted);
void charge_map(Runtime& runtime, std::string_view text);  // the time of map_code_points

bool is_trusted(const TaggedText& text);  // all of it; an empty text is
bool is_trusted_at(const TaggedText& text, std::size_t byte);

// Code point by code point: map(code, at, into) appends what becomes of the one at byte `at`; that keeps its trust.
template <class Map>
TaggedText map_code_points(Runtime& runtime, const TaggedText& text, Map map) {
    charge_map(runtime, text.text);
    TaggedText result;
    result.text.reserve(text.text.size());
    for (const TextRun& run : text.runs) {
        const std::size_t begin = result.text.size();
        for (std::size_t at = run.begin; at < run.end;) {
            const std::size_t start = at;
            const char32_t code = decode(text.text, at);
            map(code, start, result.text);
            if (result.text.size() > kMaxStringBytes) runtime.check_string_bytes(result.text.size());
        }
        if (result.text.size() == begin) continue;
        if (!result.runs.empty() && result.runs.back().trusted == run.trusted) {
            result.runs.back().end = result.text.size();
        } else {
            result.runs.push_back({begin, result.text.size(), run.trusted});
        }
    }
    return result;
}

// Where `what` is, from byte `from` on; npos when it is nowhere. Linear, whatever the texts are.
std::size_t find_text(std::string_view text, std::string_view what, std::size_t from);

// Python's str.strip: code points of `chars`, or white space when it is nullptr. Gives the bytes that stay.
std::pair<std::size_t, std::size_t> strip_bounds(std::string_view text, const std::string_view* chars, bool left, bool right);

// The line at byte `at`, which moves to the next: where the line begins, where its break begins, where that ends.
// Cuts as Python's str.splitlines.
struct Line {
    std::size_t begin, end, next;
};
Line next_line(std::string_view text, std::size_t& at);

// Python's str.replace; `count` < 0: all. An empty `old` matches before every code point and at the end.
TaggedText replace_all(Runtime& runtime, const TaggedText& text, std::string_view old, const TaggedText& replacement,
                       std::int64_t count);

// &, <, >, " and ' as HTML entities that keep the trust of what they stand for.
TaggedText html_escaped(Runtime& runtime, const TaggedText& text);

}  // namespace narae::jinja
