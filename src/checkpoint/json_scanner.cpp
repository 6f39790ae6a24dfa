#include "checkpoint/json_scanner.h"

#include "text/unicode.h"

#include <charconv>

namespace narae {
namespace {

constexpr int kDepthLimit = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

JsonScanner::JsonScanner(std::string_view text, std::string_view what) : text_(text), what_(what) {
    if (!unicode::is_valid(text)) throw_error<BadFileError>("{}: is not valid UTF-8", what);
}

void JsonScanner::fail(std::string_view reason) const { throw_error<BadFileError>("{}: byte {}: {}", what_, at_, reason); }

void JsonScanner::skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
}

char JsonScanner::peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
}

bool JsonScanner::take(char character) {
    if (peek() != character || at_ == text_.size()) return false;
    ++at_;
    return true;
}

void JsonScanner::expect(char character) {
    if (!take(character)) fail(fmt::format("expected '{}'", character));
}

void JsonScanner::object(FunctionRef<void(std::string_view key)> member) {
    expect('{');
    if (take('}')) return;
    do {
        const std::string_view key = string();
        expect(':');
        member(key);
    } while (take(','));
    expect('}');
}

void JsonScanner::array(FunctionRef<void()> element) {
    expect('[');
    if (take(']')) return;
    do element();
    while (take(','));
    expect(']');
}

std::string_view JsonScanner::string() {
    expect('"');
    const std::size_t begin = at_;
    for (; at_ < text_.size(); ++at_) {
        const auto c = static_cast<unsigned char>(text_[at_]);
        if (c == '"') return text_.substr(begin, at_++ - begin);
        if (c == '\\') break;
        if (c < 0x20) fail("control character in a string");
    }
    scratch_.assign(text_.substr(begin, at_ - begin));
    while (at_ < text_.size()) {
        const char c = text_[at_];
        if (c == '"') {
            ++at_;
            return scratch_;
        }
        if (static_cast<unsigned char>(c) < 0x20) fail("control character in a string");
        ++at_;
        if (c == '\\')
            unescape();
        else
            scratch_.push_back(c);
    }
    fail("the string does not end");
}

void JsonScanner::unescape() {
    if (at_ == text_.size()) fail("the string does not end");
    const char c = text_[at_++];
    switch (c) {
        case '"':
        case '\\':
        case '/':
            scratch_.push_back(c);
            return;
        case 'b':
            scratch_.push_back('\b');
            return;
        case 'f':
            scratch_.push_back('\f');
            return;
        case 'n':
            scratch_.push_back('\n');
            return;
        case 'r':
            scratch_.push_back('\r');
            return;
        case 't':
            scratch_.push_back('\t');
            return;
        case 'u':
            break;
        default:
            fail("unknown escape in a string");
    }
    std::uint32_t code = hexadecimal4();
    if (code >= 0xDC00 && code < 0xE000) fail("lone surrogate in a string");
    if (code >= 0xD800 && code < 0xDC00) {
        if (text_.substr(at_, 2) != "\\u") fail("lone surrogate in a string");
        at_ += 2;
        const std::uint32_t low = hexadecimal4();
        if (low < 0xDC00 || low >= 0xE000) fail("lone surrogate in a string");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    unicode::append(scratch_, code);
}

std::uint32_t JsonScanner::hexadecimal4() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) fail("\\u needs four hexadecimal digits");
    at_ += 4;
    return code;
}

std::uint64_t JsonScanner::whole_number() {
    const char first = peek();
    if (!is_digit(first)) fail("expected a whole number that is not negative");
    const char* begin = text_.data() + at_;
    const char* last = text_.data() + text_.size();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(begin, last, value);
    if (error != std::errc()) fail("the number does not fit into 64 bits");
    if (first == '0' && end - begin > 1) fail("a number with a leading zero");
    if (end != last && (*end == '.' || *end == 'e' || *end == 'E')) fail("expected a whole number that is not negative");
    at_ += static_cast<std::size_t>(end - begin);
    return value;
}

bool JsonScanner::take_null() {
    if (peek() != 'n') return false;
    take_word("null");
    return true;
}

void JsonScanner::take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) fail("expected a value");
    at_ += word.size();
}

void JsonScanner::skip_number() {
    const auto digits = [&] {
        if (at_ == text_.size() || !is_digit(text_[at_])) fail("expected a value");
        while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    };
    if (text_[at_] == '-') ++at_;
    const bool zero = at_ < text_.size() && text_[at_] == '0';
    const std::size_t begin = at_;
    digits();
    if (zero && at_ - begin > 1) fail("a number with a leading zero");
    if (at_ < text_.size() && text_[at_] == '.') {
        ++at_;
        digits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
        ++at_;
        if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
        digits();
    }
}

void JsonScanner::skip() { skip_nested(0); }

void JsonScanner::skip_nested(int depth) {
    if (depth > kDepthLimit) fail(fmt::format("nested deeper than {} levels", kDepthLimit));
    switch (peek()) {
        case '{':
            object([&](std::string_view) { skip_nested(depth + 1); });
            return;
        case '[':
            array([&] { skip_nested(depth + 1); });
            return;
        case '"':
            string();
            return;
        case 't':
            take_word("true");
            return;
        case 'f':
            take_word("false");
            return;
        case 'n':
            take_word("null");
            return;
        case '\0':
            fail("expected a value");
        default:
            skip_number();
    }
}

void JsonScanner::end() {
    skip_space();
    if (at_ != text_.size()) fail("text after the end of the document");
}

}  // namespace narae
