#include "cli/terminal/line.h"

#include "text/unicode.h"

#include <algorithm>

namespace narae::cli {
namespace {

bool is_space_before(std::string_view text, std::size_t at) {
    return unicode::is_whitespace(unicode::decode_before(text, at).code_point);
}

}  // namespace

void Line::set(std::string text) {
    text_ = std::move(text);
    cursor_ = text_.size();
}

void Line::insert(std::string_view text) {
    text_.insert(cursor_, text);
    cursor_ += text.size();
}

void Line::backspace() {
    if (cursor_ == 0) return;
    const std::size_t begin = unicode::previous_grapheme(text_, cursor_);
    text_.erase(begin, cursor_ - begin);
    cursor_ = begin;
}

void Line::erase() {
    if (cursor_ < text_.size()) text_.erase(cursor_, unicode::next_grapheme(text_, cursor_) - cursor_);
}

std::size_t Line::word_begin_before(std::size_t at) const {
    while (at > 0 && is_space_before(text_, at)) at = unicode::previous_grapheme(text_, at);
    while (at > 0 && !is_space_before(text_, at)) at = unicode::previous_grapheme(text_, at);
    return at;
}

void Line::erase_word() {
    const std::size_t begin = word_begin_before(cursor_);
    text_.erase(begin, cursor_ - begin);
    cursor_ = begin;
}

std::size_t Line::row_begin() const {
    const std::size_t newline = cursor_ == 0 ? std::string::npos : text_.rfind('\n', cursor_ - 1);
    return newline == std::string::npos ? 0 : newline + 1;
}

std::size_t Line::row_end() const { return std::min(text_.find('\n', cursor_), text_.size()); }

void Line::erase_to_begin() {
    const std::size_t begin = row_begin();
    text_.erase(begin, cursor_ - begin);
    cursor_ = begin;
}

void Line::erase_to_end() { text_.erase(cursor_, row_end() - cursor_); }

void Line::left() {
    if (cursor_ > 0) cursor_ = unicode::previous_grapheme(text_, cursor_);
}

void Line::right() {
    if (cursor_ < text_.size()) cursor_ = unicode::next_grapheme(text_, cursor_);
}

void Line::word_left() { cursor_ = word_begin_before(cursor_); }

void Line::word_right() {
    const auto space_at = [&](std::size_t at) { return unicode::is_whitespace(unicode::decode(text_, at).code_point); };
    while (cursor_ < text_.size() && space_at(cursor_)) cursor_ = unicode::next_grapheme(text_, cursor_);
    while (cursor_ < text_.size() && !space_at(cursor_)) cursor_ = unicode::next_grapheme(text_, cursor_);
}

void Line::home() { cursor_ = row_begin(); }
void Line::end() { cursor_ = row_end(); }

Screen lay_out(std::string_view prompt, const Line& line, int columns) {
    Screen screen;
    ScreenPosition at{0, unicode::display_width(prompt)};
    screen.shown = prompt;
    const auto next_row = [&] {
        screen.shown += "\n";
        at = {at.row + 1, 0};
    };
    const std::string& text = line.text();
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t next = unicode::next_grapheme(text, i);
        const std::string_view character = std::string_view(text).substr(i, next - i);
        if (character == "\n") {
            if (i == line.cursor()) screen.cursor = {at.row, std::min(at.column, columns - 1)};
            next_row();
        } else {
            // An emoji of several parts is one wide character.
            const int width = std::min(unicode::display_width(character), 2);
            if (at.column + width > columns) next_row();
            if (i == line.cursor()) screen.cursor = at;
            screen.shown += character;
            at.column += width;
        }
        i = next;
    }
    if (at.column >= columns) next_row();
    screen.end = at;
    if (line.cursor() == text.size()) screen.cursor = at;
    return screen;
}

}  // namespace narae::cli
