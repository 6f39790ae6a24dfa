#include "text/tokenizer/split_patterns.h"

#include "text/unicode.h"

namespace narae {
namespace {

using unicode::decode;
using unicode::Decoded;
using unicode::is_letter;
using unicode::is_mark;
using unicode::is_number;
using unicode::is_whitespace;

bool is_newline(char32_t c) { return c == '\r' || c == '\n'; }

template <class Class>
std::size_t run_end(std::string_view text, std::size_t at, Class&& of_class) {
    while (at < text.size()) {
        const Decoded d = decode(text, at);
        if (!of_class(d.code_point)) break;
        at += d.length;
    }
    return at;
}

// \s+(?!\S)|\s+ where text[at] is whitespace: the whole run at the end of the text; else all but its last character,
// which stays for the next word; a single one is a piece of its own.
std::size_t whitespace_end(std::string_view text, std::size_t at, std::size_t run) {
    if (run == text.size()) return run;
    const std::size_t last = run - unicode::decode_before(text, run).length;
    return last > at ? last : run;
}

// The length of the contraction after an apostrophe at text[at], or 0. 's, 't, 're, 've, 'm, 'll, 'd
std::size_t contraction(std::string_view text, std::size_t at, bool any_case) {
    const auto letter = [&](std::size_t i) -> char {
        if (at + i >= text.size()) return 0;
        const char c = text[at + i];
        return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    };
    switch (letter(1)) {
        case 's':
        case 't':
        case 'm':
        case 'd':
            return 2;
        case 'r':
        case 'v':
            return letter(2) == 'e' ? 3 : 0;
        case 'l':
            return letter(2) == 'l' ? 3 : 0;
        default:
            // U+017F, the long s, is a lower case of S
            return any_case && text.substr(at + 1).starts_with("\xC5\xBF") ? 3 : 0;
    }
}

struct Llama3Rules {
    std::size_t longest_number;
    bool marks_are_letters;
};

template <Llama3Rules rules>
std::size_t llama3_piece_end(std::string_view text, std::size_t at) {
    const auto word = [](char32_t c) { return is_letter(c) || (rules.marks_are_letters && is_mark(c)); };
    const auto other = [&](char32_t c) { return !is_whitespace(c) && !word(c) && !is_number(c); };
    const Decoded d = decode(text, at);
    const std::size_t after = at + d.length;
    const char32_t c = d.code_point;
    if (c == '\'')
        if (const std::size_t length = contraction(text, at, true)) return at + length;
    if (word(c)) return run_end(text, after, word);
    if (is_number(c)) {
        std::size_t end = after;
        for (std::size_t count = 1; count < rules.longest_number && end < text.size(); ++count) {
            const Decoded digit = decode(text, end);
            if (!is_number(digit.code_point)) break;
            end += digit.length;
        }
        return end;
    }
    const char32_t next = after < text.size() ? decode(text, after).code_point : 0;
    if (after < text.size() && !is_newline(c) && word(next)) return run_end(text, after, word);
    if (other(c) || (c == ' ' && after < text.size() && other(next)))
        return run_end(text, run_end(text, after, other), is_newline);
    const std::size_t run = run_end(text, at, is_whitespace);
    const std::size_t newline = text.substr(at, run - at).find_last_of("\r\n");
    if (newline != std::string_view::npos) return at + newline + 1;
    return whitespace_end(text, at, run);
}

}  // namespace

std::size_t gpt2_piece_end(std::string_view text, std::size_t at) {
    const auto other = [](char32_t c) { return !is_whitespace(c) && !is_letter(c) && !is_number(c); };
    Decoded d = decode(text, at);
    if (d.code_point == '\'')
        if (const std::size_t length = contraction(text, at, false)) return at + length;
    std::size_t begin = at;
    if (d.code_point == ' ' && at + 1 < text.size()) {
        begin = at + 1;
        d = decode(text, begin);
    }
    if (is_letter(d.code_point)) return run_end(text, begin, is_letter);
    if (is_number(d.code_point)) return run_end(text, begin, is_number);
    if (!is_whitespace(d.code_point)) return run_end(text, begin, other);
    return whitespace_end(text, at, run_end(text, at, is_whitespace));
}

PieceEnd find_split_pattern(std::string_view regex) {
    if (regex == kGpt2Regex) return gpt2_piece_end;
    if (regex == kLlama3Regex) return llama3_piece_end<Llama3Rules{3, false}>;
    if (regex == kQwen2Regex) return llama3_piece_end<Llama3Rules{1, false}>;
    if (regex == kQwen35Regex) return llama3_piece_end<Llama3Rules{1, true}>;
    return nullptr;
}

std::string_view portable_regex(std::string_view regex) {
    constexpr std::string_view kBloom = " ?[^(\\s|[.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C])]+";
    constexpr std::string_view kBloomPortable = " ?[^(\\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]+";
    return regex == kBloom ? kBloomPortable : regex;
}

}  // namespace narae
