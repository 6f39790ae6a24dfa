// Code points and their properties as Python's str sees them, on top of text/unicode.h. Texts are valid UTF-8 throughout the
// interpreter (checked where they come in), so positions found by searching bytes are whole code points.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace narae::jinja {

std::size_t count_code_points(std::string_view text);
// The byte at which code point `index` begins; the size at the end or beyond.
std::size_t byte_of(std::string_view text, std::size_t index);
char32_t decode_long(std::string_view text, std::size_t& at);
// The code point that begins at byte `at`, which then moves behind it.
inline char32_t decode(std::string_view text, std::size_t& at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x80) return decode_long(text, at);
    ++at;
    return byte;
}
// Moves `at` back to where the code point before it begins.
char32_t decode_before(std::string_view text, std::size_t& at);
void encode(char32_t code, std::string& into);

// \x41, \u0041 or \U00000041, as `kind` says.
void append_escape(char kind, char32_t code, std::string& into);

bool is_space(char32_t code);       // str.isspace, also what strip() and split() take
bool is_line_break(char32_t code);  // where splitlines() cuts
bool is_printable(char32_t code);   // str.isprintable, what repr() does not escape
bool is_lower(char32_t code);
bool is_upper(char32_t code);
bool is_title(char32_t code);
bool is_cased(char32_t code);
bool is_alpha(char32_t code);
bool is_decimal(char32_t code);
bool is_digit(char32_t code);
bool is_identifier_start(char32_t code);
bool is_identifier_part(char32_t code);

// Full case mappings: one code point may become three ("ß" → "SS").
enum class Case { lower, upper, title };
void append_case(char32_t code, Case to, std::string& into);
// The lower case of the code point at byte `at` of the text; the final sigma depends on what is around it.
void append_lower_at(std::string_view text, std::size_t at, char32_t code, std::string& into);

}  // namespace narae::jinja
