#include "text/jinja/lexer.h"

#include "base/error.h"
#include "text/jinja/limits.h"
#include "text/jinja/text_parts.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>

namespace narae::jinja {
namespace {

// All line breaks become \n, and one at the very end goes.
std::string normalized(std::string_view source) {
    std::string result;
    result.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] != '\r') {
            result.push_back(source[i]);
            continue;
        }
        result.push_back('\n');
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
    if (result.ends_with('\n')) result.pop_back();
    return result;
}

bool is_zero_char(char c) { return c == '0'; }
bool is_digit_char(char c) { return c >= '0' && c <= '9'; }

class Lexer {
public:
    Lexer(std::string source, const Options& options) : source_(std::move(source)), view_(source_), options_(options) {}

    std::vector<Token> run() {
        while (at_ < view_.size()) lex_text();
        push(TokenKind::end, "");
        return std::move(tokens_);
    }

private:
    enum class Tag { print, block, comment, raw };
    struct Opening {
        Tag tag = Tag::block;
        std::size_t begin = 0, end = 0;  // of the opening itself, with its sign
        char sign = 0;
    };

    void push(TokenKind kind, std::string text, int line = 0) {
        if (tokens_.size() == kMaxTokens) syntax_error(line_, fmt::format("more than {} tokens", kMaxTokens));
        Token token;
        token.kind = kind;
        token.line = line != 0 ? line : line_;
        token.text = std::move(text);
        tokens_.push_back(std::move(token));
    }

    void advance_to(std::size_t at) {
        line_ += static_cast<int>(std::count(view_.begin() + static_cast<std::ptrdiff_t>(at_),
                                             view_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
        at_ = at;
    }

    std::size_t skip_spaces(std::size_t at) const {
        while (at < view_.size()) {
            std::size_t next = at;
            if (!is_space(decode(view_, next))) break;
            at = next;
        }
        return at;
    }

    bool starts(std::size_t at, std::string_view what) const {
        return view_.substr(std::min(at, view_.size())).starts_with(what);
    }

    char sign_at(std::size_t at) const {
        return at < view_.size() && (view_[at] == '-' || view_[at] == '+') ? view_[at] : '\0';
    }

    // {% raw %} with its end, or 0.
    std::size_t raw_opening_end(std::size_t behind_sign) const {
        std::size_t at = skip_spaces(behind_sign);
        if (!starts(at, "raw")) return 0;
        at = skip_spaces(at + 3);
        if (starts(at, "-%}")) return skip_spaces(at + 3);
        return starts(at, "%}") ? at + 2 : 0;
    }

    bool find_opening(Opening& opening) const {
        for (std::size_t at = view_.find('{', at_); at != std::string_view::npos; at = view_.find('{', at + 1)) {
            if (at + 1 >= view_.size()) return false;
            const char kind = view_[at + 1];
            if (kind != '{' && kind != '%' && kind != '#') continue;
            opening.begin = at;
            opening.sign = sign_at(at + 2);
            opening.end = at + 2 + (opening.sign != 0 ? 1 : 0);
            opening.tag = kind == '{' ? Tag::print : kind == '%' ? Tag::block : Tag::comment;
            if (opening.tag == Tag::block) {
                if (const std::size_t end = raw_opening_end(opening.end); end != 0) {
                    opening.tag = Tag::raw;
                    opening.end = end;
                }
            }
            return true;
        }
        return false;
    }

    // The text before an opening, stripped as its sign and the options say.
    std::string_view stripped(std::string_view text, char sign, bool can_lstrip) const {
        if (sign == '-') {
            const auto [begin, end] = strip_bounds(text, nullptr, false, true);
            return text.substr(begin, end - begin);
        }
        if (sign == '+' || !options_.lstrip_blocks || !can_lstrip) return text;
        const std::size_t newline = text.rfind('\n');
        const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
        if (line == 0 && !line_starting_) return text;
        const std::string_view tail = text.substr(line);
        const auto [begin, end] = strip_bounds(tail, nullptr, true, false);
        return !tail.empty() && begin == end ? text.substr(0, line) : text;
    }

    void push_text(std::string_view text) {
        if (!text.empty()) push(TokenKind::text, std::string(text));
    }

    // Moves behind a tag's end at `at` (which is at "%}", "-%}" or "+%}"), with the white space that goes with it.
    void close_tag(std::size_t at, bool trims) {
        const char sign = sign_at(at);
        std::size_t end = at + (sign != 0 ? 1 : 0) + 2;
        if (sign == '-') {
            end = skip_spaces(end);
        } else if (sign == 0 && trims && options_.trim_blocks && end < view_.size() && view_[end] == '\n') {
            ++end;
        }
        advance_to(end);
        line_starting_ = view_[end - 1] == '\n';
    }

    void lex_text() {
        Opening opening;
        if (!find_opening(opening)) {
            push_text(view_.substr(at_));
            advance_to(view_.size());
            return;
        }
        push_text(stripped(view_.substr(at_, opening.begin - at_), opening.sign, opening.tag != Tag::print));
        advance_to(opening.begin);
        const int begin_line = line_;
        advance_to(opening.end);
        line_starting_ = view_[opening.end - 1] == '\n';
        switch (opening.tag) {
            case Tag::comment:
                return lex_comment();
            case Tag::raw:
                return lex_raw();
            case Tag::print:
            case Tag::block:
                break;
        }
        const bool block = opening.tag == Tag::block;
        push(block ? TokenKind::block_begin : TokenKind::print_begin, "", begin_line);
        lex_tag(block);
    }

    void lex_comment() {
        const std::size_t end = view_.find("#}", at_);
        if (end == std::string_view::npos) syntax_error(line_, "a comment has no end: need '#}'");
        const bool has_sign = end > at_ && sign_at(end - 1) != 0;
        close_tag(end - (has_sign ? 1 : 0), true);
    }

    void lex_raw() {
        for (std::size_t at = view_.find("{%", at_); at != std::string_view::npos; at = view_.find("{%", at + 1)) {
            const char sign = sign_at(at + 2);
            std::size_t end = skip_spaces(at + 2 + (sign != 0 ? 1 : 0));
            if (!starts(end, "endraw")) continue;
            end = skip_spaces(end + 6);
            if (!starts(end + (sign_at(end) != 0 ? 1 : 0), "%}")) continue;
            push_text(stripped(view_.substr(at_, at - at_), sign, true));
            advance_to(end);
            return close_tag(end, true);
        }
        syntax_error(line_, "a raw block has no end: need '{% endraw %}'");
    }

    // Inside {{ }} or {% %}.
    void lex_tag(bool block) {
        std::string open;  // the brackets to close
        while (true) {
            advance_to(skip_spaces(at_));
            if (at_ >= view_.size()) return;  // the parser says what is missing
            if (open.empty()) {
                const char sign = sign_at(at_);
                const std::size_t at = at_ + (sign == '-' || (sign == '+' && block) ? 1 : 0);
                if (starts(at, block ? "%}" : "}}")) {
                    push(block ? TokenKind::block_end : TokenKind::print_end, "");
                    return close_tag(at_, block);
                }
            }
            if (!lex_number() && !lex_name() && !lex_string() && !lex_symbol(open)) {
                std::size_t next = at_;
                decode(view_, next);
                syntax_error(line_, fmt::format("unexpected character '{}'", view_.substr(at_, next - at_)));
            }
        }
    }

    // Digits with _ between them, from `at`; where they end.
    template <class IsDigit>
    std::size_t digits_end(std::size_t at, IsDigit is) const {
        if (at >= view_.size() || !is(view_[at])) return at;
        while (at < view_.size()) {
            if (is(view_[at])) {
                ++at;
            } else if (view_[at] == '_' && at + 1 < view_.size() && is(view_[at + 1])) {
                at += 2;
            } else {
                break;
            }
        }
        return at;
    }

    bool lex_number() {
        if (!is_digit_char(view_[at_])) return false;
        const std::size_t whole = digits_end(at_, is_digit_char);
        std::size_t end = whole;
        if (at_ == 0 || view_[at_ - 1] != '.') {
            if (end < view_.size() && view_[end] == '.') {
                const std::size_t fraction = digits_end(end + 1, is_digit_char);
                if (fraction > end + 1) end = fraction;
            }
            if (end < view_.size() && (view_[end] == 'e' || view_[end] == 'E')) {
                const std::size_t from = end + 1 + (sign_at(end + 1) != 0 ? 1 : 0);
                const std::size_t exponent = digits_end(from, is_digit_char);
                if (exponent > from) end = exponent;
            }
        }
        if (end > whole) {
            push(TokenKind::real, without_underscores(end));
            Token& token = tokens_.back();
            std::from_chars(token.text.data(), token.text.data() + token.text.size(), token.real);
            advance_to(end);
            return true;
        }
        return lex_integer();
    }

    std::string without_underscores(std::size_t end) const {
        std::string text(view_.substr(at_, end - at_));
        std::erase(text, '_');
        return text;
    }

    bool lex_integer() {
        const auto is_hex = [](char c) { return is_digit_char(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
        const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
        const auto is_binary = [](char c) { return c == '0' || c == '1'; };
        int base = 10;
        std::size_t end = at_;
        if (view_[at_] == '0' && at_ + 1 < view_.size()) {
            const std::size_t from = at_ + 2 + (at_ + 2 < view_.size() && view_[at_ + 2] == '_' ? 1 : 0);
            const char mark = static_cast<char>(view_[at_ + 1] | 0x20);
            base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
            end = base == 16  ? digits_end(from, is_hex)
                  : base == 8 ? digits_end(from, is_octal)
                  : base == 2 ? digits_end(from, is_binary)
                              : at_;
            if (end <= from) base = 10;
        }
        if (base == 10) end = digits_end(at_, view_[at_] == '0' ? is_zero_char : is_digit_char);
        push(TokenKind::integer, without_underscores(end));
        Token& token = tokens_.back();
        const char* from = token.text.data() + (base == 10 ? 0 : 2);
        const auto [stopped, error] = std::from_chars(from, token.text.data() + token.text.size(), token.integer, base);
        if (error != std::errc()) syntax_error(line_, fmt::format("the integer {} does not fit 64 bits", token.text));
        advance_to(end);
        return true;
    }

    bool lex_name() {
        std::size_t end = at_;
        if (!is_identifier_start(decode(view_, end))) return false;
        while (end < view_.size()) {
            std::size_t next = end;
            if (!is_identifier_part(decode(view_, next))) break;
            end = next;
        }
        push(TokenKind::name, std::string(view_.substr(at_, end - at_)));
        advance_to(end);
        return true;
    }

    bool lex_string() {
        const char quote = view_[at_];
        if (quote != '\'' && quote != '"') return false;
        std::size_t end = at_ + 1;
        while (end < view_.size() && view_[end] != quote) end += view_[end] == '\\' ? 2 : 1;
        if (end >= view_.size()) return false;
        push(TokenKind::string, unescaped(view_.substr(at_ + 1, end - at_ - 1)));
        advance_to(end + 1);
        return true;
    }

    // As Python's unicode-escape codec.
    std::string unescaped(std::string_view text) const {
        std::string result;
        for (std::size_t at = 0; at < text.size();) {
            if (text[at] != '\\') {
                result.push_back(text[at++]);
                continue;
            }
            const std::size_t escaped = at + 1;
            std::size_t next = escaped;
            const char32_t code = decode(text, next);
            constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
            if (code >= 0x80) {
                // The codec sees the character as an escape of its own, behind a lone backslash.
                append_escape(code < 0x100 ? 'x' : code < 0x10000 ? 'u' : 'U', code, result);
                at = next;
            } else if (const auto letter = kLetters.find(static_cast<char>(code)); letter != std::string_view::npos) {
                result.push_back(kMeanings[letter]);
                at = next;
            } else if (code == U'\n') {
                at = next;
            } else if (code >= U'0' && code <= U'7') {
                char32_t value = 0;
                at = escaped;
                for (int i = 0; i < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i)
                    value = value * 8 + static_cast<char32_t>(text[at++] - '0');
                encode(value, result);
            } else if (code == U'x' || code == U'u' || code == U'U') {
                const std::size_t digits = code == U'x' ? 2 : code == U'u' ? 4 : 8;
                const std::string_view hex = text.substr(next, digits);
                unsigned value = 0;
                const auto [stopped, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
                if (hex.size() != digits || error != std::errc() || stopped != hex.data() + digits)
                    syntax_error(line_, fmt::format("a string has a truncated \\{} escape", static_cast<char>(code)));
                if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
                    syntax_error(line_, fmt::format("a string has the escape \\{}{}, which is no character",
                                                    static_cast<char>(code), hex));
                encode(value, result);
                at = next + digits;
            } else if (code == U'N') {
                syntax_error(line_, "a string has a \\N escape, which is not supported; write the character itself");
            } else {
                result.push_back('\\');
                at = escaped;
            }
        }
        return result;
    }

    bool lex_symbol(std::string& open) {
        constexpr std::string_view kPairs[] = {"//", "**", "==", "!=", ">=", "<="};
        std::string_view symbol = view_.substr(at_, 2);
        if (std::find(std::begin(kPairs), std::end(kPairs), symbol) == std::end(kPairs)) {
            symbol = view_.substr(at_, 1);
            if (std::string_view("+-/*%~[](){}><=.:|,;").find(symbol[0]) == std::string_view::npos) return false;
        }
        const char c = symbol[0];
        if (symbol.size() == 1 && (c == '(' || c == '[' || c == '{')) {
            open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
        } else if (c == ')' || c == ']' || c == '}') {
            if (open.empty()) syntax_error(line_, fmt::format("unexpected '{}'", c));
            if (open.back() != c) syntax_error(line_, fmt::format("unexpected '{}', expected '{}'", c, open.back()));
            open.pop_back();
        }
        push(TokenKind::symbol, std::string(symbol));
        advance_to(at_ + symbol.size());
        return true;
    }

    const std::string source_;
    const std::string_view view_;
    const Options options_;
    std::size_t at_ = 0;
    int line_ = 1;
    bool line_starting_ = true;
    std::vector<Token> tokens_;
};

}  // namespace

void syntax_error(int line, const std::string& message) {
    throw_error<BadFileError>("chat template, line {}: {}", line, message);
}

std::vector<Token> tokenize(std::string_view source, const Options& options) {
    return Lexer(normalized(source), options).run();
}

}  // namespace narae::jinja
