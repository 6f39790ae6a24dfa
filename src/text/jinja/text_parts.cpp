#include "text/jinja/text_parts.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <cstring>

namespace narae::jinja {

void append_part(TaggedText& into, const TaggedText& from, std::size_t begin, std::size_t end) {
    end = std::min(end, from.text.size());
    if (begin >= end) return;
    const std::string_view text = from.text;
    auto run = std::upper_bound(from.runs.begin(), from.runs.end(), begin,
                                [](std::size_t at, const TextRun& r) { return at < r.end; });
    for (; begin < end; ++run) {
        const std::size_t until = std::min(end, run->end);
        into.append(text.substr(begin, until - begin), run->trusted);
        begin = until;
    }
}

void TextBuilder::prepare(std::size_t bytes) {
    const std::size_t size = text_.text.size() + bytes;
    runtime_.check_string_bytes(size);
    runtime_.charge(2 + bytes / 32);
    if (size > text_.text.capacity()) text_.text.reserve(std::min(std::max(2 * text_.text.capacity(), size), kMaxStringBytes));
    const std::size_t used = text_.text.capacity() + text_.runs.capacity() * sizeof(TextRun);
    if (used <= charged_) return;
    runtime_.take(used - charged_);
    charged_ = used;
}

void TextBuilder::append(std::string_view text, bool trusted) {
    prepare(text.size());
    text_.append(text, trusted);
}

void TextBuilder::append(const TaggedText& text, std::size_t begin, std::size_t end) {
    end = std::min(end, text.text.size());
    if (begin >= end) return;
    prepare(end - begin);
    append_part(text_, text, begin, end);
}

TaggedText TextBuilder::take() {
    runtime_.give(charged_);
    charged_ = 0;
    return std::move(text_);
}

TaggedText part(const TaggedText& from, std::size_t begin, std::size_t end) {
    TaggedText result;
    append_part(result, from, begin, end);
    return result;
}

TaggedText tagged(std::string_view text, bool trusted) {
    TaggedText result;
    result.append(text, trusted);
    return result;
}

bool is_trusted(const TaggedText& text) { return text.runs.empty() || (text.runs.size() == 1 && text.runs[0].trusted); }

bool is_trusted_at(const TaggedText& text, std::size_t byte) {
    const auto run =
        std::upper_bound(text.runs.begin(), text.runs.end(), byte, [](std::size_t at, const TextRun& r) { return at < r.end; });
    return run == text.runs.end() || run->trusted;
}

void charge_map(Runtime& runtime, std::string_view text) {
    const bool ascii = count_code_points(text) == text.size();
    runtime.charge(1 + (ascii ? text.size() / 4 : text.size() * 3 / 2));
}

std::size_t find_text(std::string_view text, std::string_view what, std::size_t from) {
    if (from > text.size()) return std::string_view::npos;
    const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
    return found == nullptr ? std::string_view::npos : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::pair<std::size_t, std::size_t> strip_bounds(std::string_view text, const std::string_view* chars, bool left, bool right) {
    const auto goes = [&](std::size_t from, std::size_t to, char32_t code) {
        return chars == nullptr ? is_space(code) : chars->find(text.substr(from, to - from)) != std::string_view::npos;
    };
    std::size_t begin = 0, end = text.size();
    while (left && begin < end) {
        std::size_t next = begin;
        const char32_t code = decode(text, next);
        if (!goes(begin, next, code)) break;
        begin = next;
    }
    while (right && begin < end) {
        std::size_t previous = end;
        const char32_t code = decode_before(text, previous);
        if (!goes(previous, end, code)) break;
        end = previous;
    }
    return {begin, end};
}

Line next_line(std::string_view text, std::size_t& at) {
    Line line{at, text.size(), text.size()};
    while (at < text.size()) {
        const std::size_t end = at;
        const char32_t code = decode(text, at);
        if (!is_line_break(code)) continue;
        if (code == U'\r' && at < text.size() && text[at] == '\n') ++at;
        line.end = end;
        line.next = at;
        break;
    }
    return line;
}

TaggedText replace_all(Runtime& runtime, const TaggedText& text, std::string_view old, const TaggedText& replacement,
                       std::int64_t count) {
    TextBuilder result(runtime);
    const std::string_view view = text.text;
    runtime.charge_scan(view.size());
    std::size_t at = 0;
    if (old.empty()) {
        while (count != 0) {
            result.append(replacement);
            --count;
            if (at == view.size()) break;
            std::size_t next = at;
            decode(view, next);
            result.append(text, at, next);
            at = next;
        }
    } else {
        for (; count != 0; --count) {
            const std::size_t found = find_text(view, old, at);
            if (found == std::string_view::npos) break;
            result.append(text, at, found);
            result.append(replacement);
            at = found + old.size();
        }
    }
    result.append(text, at);
    return result.take();
}

TaggedText html_escaped(Runtime& runtime, const TaggedText& text) {
    return map_code_points(runtime, text, [](char32_t code, std::size_t, std::string& into) {
        switch (code) {
            case U'&':
                into.append("&amp;");
                break;
            case U'<':
                into.append("&lt;");
                break;
            case U'>':
                into.append("&gt;");
                break;
            case U'"':
                into.append("&#34;");
                break;
            case U'\'':
                into.append("&#39;");
                break;
            default:
                encode(code, into);
        }
    });
}

}  // namespace narae::jinja
