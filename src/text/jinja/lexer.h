// Cuts a template into tokens, as Jinja does: text between tags with its white space controlled, and what is in tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace narae::jinja {

// trim_blocks removes the newline behind a block tag, lstrip_blocks the white space between a line's start and a
// block tag. transformers sets both.
struct Options {
    bool trim_blocks = true;
    bool lstrip_blocks = true;
};

enum class TokenKind : std::uint8_t {
    text,
    print_begin,
    print_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    symbol,
    end
};

struct Token {
    TokenKind kind = TokenKind::end;
    int line = 1;
    std::string text;  // text, name, the unescaped string, or the symbol: "==", "|" ...
    std::int64_t integer = 0;
    double real = 0;
};

// The source is valid UTF-8. BadFileError with the line. Ends with an `end` token.
std::vector<Token> tokenize(std::string_view source, const Options& options);

// A template that cannot be parsed: BadFileError("chat template, line 3: ...").
[[noreturn]] void syntax_error(int line, const std::string& message);

}  // namespace narae::jinja
