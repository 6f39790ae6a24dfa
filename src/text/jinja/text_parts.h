// Work on texts that keeps track of where each byte comes from.
#pragma once

#include "text/jinja/runtime.h"
#include "text/tagged_text.h"

#include <cstddef>
#include <cstdint>
#include <functional>
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

bool is_trusted(const TaggedText& text);  // all of it; an empty text is
bool is_trusted_at(const TaggedText& text, std::size_t byte);

// Code point by code point: `map` appends what becomes of the one at byte `at`; that keeps its trust.
TaggedText map_code_points(Runtime& runtime, const TaggedText& text,
                           const std::function<void(char32_t code, std::size_t at, std::string& into)>& map);

// Python's str.strip: code points of `chars`, or white space when it is nullptr. Gives the bytes that stay.
std::pair<std::size_t, std::size_t> strip_bounds(std::string_view text, const std::string_view* chars, bool left, bool right);

// Bytes [begin, end) of the lines; `keep_ends` leaves the line breaks in.
std::vector<std::pair<std::size_t, std::size_t>> line_bounds(std::string_view text, bool keep_ends);

// Python's str.replace; `count` < 0: all. An empty `old` matches before every code point and at the end.
TaggedText replace_all(Runtime& runtime, const TaggedText& text, std::string_view old, const TaggedText& replacement,
                       std::int64_t count);

// &, <, >, " and ' as HTML entities that keep the trust of what they stand for.
TaggedText html_escaped(Runtime& runtime, const TaggedText& text);

}  // namespace narae::jinja
