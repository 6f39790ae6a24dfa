// Unicode for tokenizers and terminals: UTF-8, classes of characters, normal forms, display width, graphemes.
// Pure functions, safe to run concurrently. Tables are utf8proc's; `whitespace` is the White_Space property, `number` is
// Nd, Nl and No, as the regular expressions of tokenizers mean \s and \p{N}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace narae::unicode {

constexpr char32_t kReplacement = 0xFFFD;

struct Decoded {
    char32_t code_point;
    std::uint32_t length;  // in bytes
};

// The character at text[at]. An invalid sequence decodes as U+FFFD with the length of its maximal invalid part (Unicode
// 3.9, as Rust and Python replace it). at < text.size().
Decoded decode(std::string_view text, std::size_t at);
// The character of valid UTF-8 that ends before text[end]; end > 0.
Decoded decode_before(std::string_view text, std::size_t end);
void append(std::string& text, char32_t code_point);

bool is_valid(std::string_view text);
// The offset of the first byte that is not part of valid UTF-8; text.size() when there is none.
std::size_t valid_prefix(std::string_view text);
// The length of the longest prefix that does not end within a character which more bytes could complete.
std::size_t complete_prefix(std::string_view text);
// Every maximal invalid part becomes U+FFFD.
std::string replace_invalid(std::string_view text);

bool is_whitespace(char32_t c);
bool is_letter(char32_t c);       // category L
bool is_mark(char32_t c);         // category M
bool is_number(char32_t c);       // category N
bool is_punctuation(char32_t c);  // category P
bool is_symbol(char32_t c);       // category S
bool is_control(char32_t c);      // categories Cc, Cf, Cn, Co, Cs
bool is_word(char32_t c);         // what \w matches: L, M, Nd, Nl, Pc

enum class NormalForm { nfc, nfd, nfkc, nfkd };
// Valid UTF-8 in, valid UTF-8 out.
std::string normalize(std::string_view text, NormalForm form);
// Each character by itself, as Rust's char::to_lowercase.
std::string lowercase(std::string_view text);

// Columns on a terminal: 0 for combining marks, 2 for wide East Asian characters and emoji.
int display_width(std::string_view text);
// The border of user-perceived characters (grapheme clusters) after, or before, a border `at`.
std::size_t next_grapheme(std::string_view text, std::size_t at);
std::size_t previous_grapheme(std::string_view text, std::size_t at);

}  // namespace narae::unicode
