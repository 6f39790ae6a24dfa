#include "text/jinja/string_format.h"

#include "text/jinja/operations.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace narae::jinja {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxPrecision = 1000;

struct Specification {
    std::string fill = " ";
    char align = 0;  // < > ^ =
    char sign = '-';
    bool alternate = false;
    char grouping = 0;  // , or _
    std::int64_t width = 0;
    std::optional<std::int64_t> precision;
    char kind = 0;
};

void pad(Runtime& runtime, TextBuilder& into, const TaggedText& text, const Specification& spec, char default_align) {
    const auto size = static_cast<std::int64_t>(count_code_points(text.text));
    const std::int64_t missing = std::max<std::int64_t>(spec.width - size, 0);
    const char align = spec.align != 0 ? spec.align : default_align;
    const std::int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    runtime.charge(static_cast<std::uint64_t>(missing));
    for (std::int64_t i = 0; i < left; ++i) into.append(spec.fill, true);
    into.append(text);
    for (std::int64_t i = left; i < missing; ++i) into.append(spec.fill, true);
}

// Digits with their sign apart, so that zeros can go between.
void pad_number(Runtime& runtime, TextBuilder& into, std::string sign, std::string digits, bool trusted,
                const Specification& spec) {
    if (spec.grouping != 0) {
        std::size_t whole = 0;
        while (whole < digits.size() && digits[whole] >= '0' && digits[whole] <= '9') ++whole;
        for (std::size_t at = whole; at > 3; at -= 3) digits.insert(at - 3, 1, spec.grouping);
    }
    if (spec.align == '=') {
        const auto size = static_cast<std::int64_t>(sign.size() + digits.size());
        std::string fill;
        for (std::int64_t i = size; i < spec.width; ++i) fill += spec.fill;
        into.append(sign + fill + digits, trusted);
        return;
    }
    pad(runtime, into, tagged(sign + digits, trusted), spec, '>');
}

std::string sign_of(bool negative, char sign) { return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : ""; }

std::string in_base(std::uint64_t magnitude, int base, bool upper) {
    char buffer[80];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr;
    std::string text(buffer, end);
    if (upper)
        std::transform(text.begin(), text.end(), text.begin(),
                       [](char c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c); });
    return text;
}

void append_integer(Runtime& runtime, TextBuilder& into, const Value& value, const Specification& spec) {
    const std::int64_t number = value.as_integer();
    const std::uint64_t magnitude = number < 0 ? ~static_cast<std::uint64_t>(number) + 1 : static_cast<std::uint64_t>(number);
    const char kind = spec.kind == 0 ? 'd' : spec.kind;
    const int base = kind == 'x' || kind == 'X' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    std::string digits = in_base(magnitude, base, kind == 'X');
    if (spec.precision && static_cast<std::int64_t>(digits.size()) < *spec.precision)
        digits.insert(0, static_cast<std::size_t>(*spec.precision) - digits.size(), '0');
    std::string sign = sign_of(number < 0, spec.sign);
    if (spec.alternate && base != 10) sign += std::string("0") + kind;
    pad_number(runtime, into, std::move(sign), std::move(digits), value.trusted(), spec);
}

void append_real(Runtime& runtime, TextBuilder& into, const Value& value, const Specification& spec) {
    const double number = to_real(value);
    const bool negative = std::signbit(number) && !std::isnan(number);
    const double magnitude = std::fabs(number);
    std::string digits;
    if (spec.kind != 0) {
        digits = format_real(magnitude, spec.kind, static_cast<int>(spec.precision.value_or(6)), spec.alternate);
    } else if (spec.precision) {
        // As %g, but with at least one digit behind the point, and e-notation one digit earlier.
        const int precision = static_cast<int>(std::max<std::int64_t>(*spec.precision, 1));
        digits = format_real(magnitude, 'g', precision, spec.alternate);
        if (digits.find_first_not_of("0123456789") == std::string::npos) {
            if (static_cast<int>(digits.size()) >= precision) {
                digits = format_real(magnitude, 'e', precision - 1, spec.alternate);
                const std::size_t e = digits.find('e');
                const std::size_t keep = digits.find('.') == std::string::npos ? e : digits.find_last_not_of('0', e - 1) + 1;
                const std::size_t from = keep > 0 && digits[keep - 1] == '.' ? keep - 1 : keep;
                if (from < e) digits.erase(from, e - from);
            } else {
                digits += ".0";
            }
        }
    } else {
        digits = real_repr(magnitude);
    }
    pad_number(runtime, into, sign_of(negative, spec.sign), std::move(digits), value.trusted(), spec);
}

std::int64_t parse_count(Runtime& runtime, std::string_view text, std::size_t& at, std::int64_t limit) {
    std::int64_t count = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
        count = count * 10 + (text[at++] - '0');
        if (count > limit) runtime.fail("a width or precision is larger than {}", limit);
    }
    return count;
}

bool is_digit_at(std::string_view text, std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; }

// ---- %

class PercentFormat {
public:
    PercentFormat(Runtime& runtime, const Value& format, const Value& values)
        : runtime_(runtime),
          format_(text_of(format)),
          markup_(format.as<StringObject>().markup),
          values_(values),
          result_(runtime) {}

    Value run() {
        const std::string_view text = format_.text;
        std::size_t at = 0;
        while (true) {
            const std::size_t percent = text.find('%', at);
            result_.append(format_, at, percent);
            if (percent == std::string_view::npos) break;
            at = percent + 1;
            conversion(text, at);
        }
        // Python takes whatever has a [] for a mapping, of which not all need be used.
        const bool mapping =
            values_.is(Type::dict) || values_.is(Type::list) || values_.is(Type::range) || values_.is_undefined();
        const bool all = values_.is(Type::tuple) ? used_ == items_of(values_).size() : used_ > 0 || mapping;
        if (!all) runtime_.fail("not all arguments converted during string formatting");
        return make_string(runtime_, result_.take(), markup_);
    }

private:
    Value next_value() {
        if (values_.is(Type::tuple)) {
            if (used_ >= items_of(values_).size()) runtime_.fail("not enough arguments for format string");
            return items_of(values_)[used_++];
        }
        if (used_++ > 0) runtime_.fail("not enough arguments for format string");
        return values_;
    }

    void conversion(std::string_view text, std::size_t& at) {
        std::optional<Value> named;
        if (at < text.size() && text[at] == '(') {
            const std::size_t close = text.find(')', at);
            if (close == std::string_view::npos) runtime_.fail("incomplete format key");
            if (!values_.is(Type::dict)) runtime_.fail("format requires a mapping");
            const Value* found = values_.as<DictObject>().find(text.substr(at + 1, close - at - 1));
            if (found == nullptr)
                runtime_.fail("the format names '{}', which is not among the values", text.substr(at + 1, close - at - 1));
            named = *found;
            at = close + 1;
        }
        Specification spec;
        bool left = false, zero = false;
        for (; at < text.size(); ++at) {
            const char flag = text[at];
            if (flag == '-')
                left = true;
            else if (flag == '+')
                spec.sign = '+';
            else if (flag == ' ')
                spec.sign = spec.sign == '+' ? '+' : ' ';
            else if (flag == '#')
                spec.alternate = true;
            else if (flag == '0')
                zero = true;
            else
                break;
        }
        if (at < text.size() && text[at] == '*') {
            spec.width = std::clamp(to_index(runtime_, next_value(), "a width"), -kMaxWidth, kMaxWidth);
            left = left || spec.width < 0;
            spec.width = std::abs(spec.width);
            ++at;
        } else {
            spec.width = parse_count(runtime_, text, at, kMaxWidth);
        }
        if (at < text.size() && text[at] == '.') {
            ++at;
            if (at < text.size() && text[at] == '*') {
                spec.precision = std::clamp<std::int64_t>(to_index(runtime_, next_value(), "a precision"), 0, kMaxPrecision);
                ++at;
            } else {
                spec.precision = parse_count(runtime_, text, at, kMaxPrecision);
            }
        }
        while (at < text.size() && (text[at] == 'l' || text[at] == 'h' || text[at] == 'L')) ++at;
        if (at >= text.size()) runtime_.fail("incomplete format");
        const char kind = text[at++];
        if (left) spec.align = '<';
        if (kind == '%') return result_.append("%", true);
        const Value value = named ? *named : next_value();
        switch (kind) {
            case 's':
            case 'r':
            case 'a':
                return append_text(value, kind, spec);
            case 'c':
                return append_character(value, spec);
            default:
                return append_number(value, kind, spec, zero && !left);
        }
    }

    void append_text(const Value& value, char kind, const Specification& spec) {
        TaggedText text = kind == 's' ? to_text(runtime_, value) : to_repr(runtime_, value);
        if (kind == 'a' && count_code_points(text.text) != text.text.size())
            runtime_.fail("the format %a is not supported for text that is not ASCII");
        const bool safe = value.is_string() && value.as<StringObject>().markup && kind == 's';
        if (markup_ && !safe) text = html_escaped(runtime_, text);
        if (spec.precision) text = part(text, 0, byte_of(text.text, static_cast<std::size_t>(*spec.precision)));
        pad(runtime_, result_, text, spec, '>');
    }

    void append_character(const Value& value, const Specification& spec) {
        if (value.is_string()) {
            if (value.as<StringObject>().code_points != 1) runtime_.fail("%c requires an int or one character");
            return pad(runtime_, result_, text_of(value), spec, '>');
        }
        const std::int64_t code = to_index(runtime_, value, "%c");
        if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) runtime_.fail("%c: {} is no character", code);
        std::string character;
        encode(static_cast<char32_t>(code), character);
        pad(runtime_, result_, tagged(character, false), spec, '>');
    }

    void append_number(const Value& value, char kind, Specification spec, bool zero) {
        if (value.is_undefined()) fail_undefined(runtime_, value);
        if (!value.is_number()) runtime_.fail("%{} format: a number is required, not {}", kind, type_name(value));
        if (zero) {
            spec.fill = "0";
            spec.align = '=';
        }
        spec.kind = kind == 'i' || kind == 'u' ? 'd' : kind;
        switch (spec.kind) {
            case 'd':
                if (value.is(Type::real))
                    return append_integer(runtime_, result_,
                                          Value::integer(truncate(runtime_, value.as_real()), value.trusted()), spec);
                return append_integer(runtime_, result_, value, spec);
            case 'x':
            case 'X':
            case 'o':
                if (value.is(Type::real)) runtime_.fail("%{} format: an integer is required, not float", kind);
                return append_integer(runtime_, result_, value, spec);
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
                return append_real(runtime_, result_, value, spec);
            default:
                runtime_.fail("unsupported format character '{}'", kind);
        }
    }

    Runtime& runtime_;
    const TaggedText& format_;
    const bool markup_;
    const Value& values_;
    TextBuilder result_;
    std::size_t used_ = 0;
};

// ---- {}

class BraceFormat {
public:
    BraceFormat(Runtime& runtime, const Value& format, const CallArguments& arguments)
        : runtime_(runtime), markup_(format.as<StringObject>().markup), arguments_(arguments) {}

    void run(const TaggedText& format, TextBuilder& into, int depth) {
        const std::string_view text = format.text;
        std::size_t at = 0;
        while (at < text.size()) {
            const std::size_t brace = text.find_first_of("{}", at);
            into.append(format, at, brace);
            if (brace == std::string_view::npos) return;
            at = brace + 1;
            if (at < text.size() && text[at] == text[brace]) {
                into.append(format, brace, at);
                ++at;
                continue;
            }
            if (text[brace] == '}') runtime_.fail("single '}}' in a format string");
            if (depth > 1) runtime_.fail("format fields are nested too deeply");
            std::size_t end = at;
            for (int open = 1; open > 0; ++end) {
                if (end >= text.size()) runtime_.fail("a format field has no end");
                open += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
            }
            field(part(format, at, end - 1), into, depth);
            at = end;
        }
    }

private:
    void field(const TaggedText& field_text, TextBuilder& into, int depth) {
        const std::string_view text = field_text.text;
        std::size_t name_end = 0;
        for (bool in_brackets = false; name_end < text.size(); ++name_end) {
            if (text[name_end] == '[') in_brackets = true;
            if (text[name_end] == ']') in_brackets = false;
            if (!in_brackets && (text[name_end] == '!' || text[name_end] == ':')) break;
        }
        Value value = look_up(text.substr(0, name_end));
        std::size_t at = name_end;
        char conversion = 0;
        if (at < text.size() && text[at] == '!') {
            if (at + 1 >= text.size() || (at + 2 < text.size() && text[at + 2] != ':'))
                runtime_.fail("bad conversion in a format field");
            conversion = text[at + 1];
            at += 2;
        }
        TextBuilder specification(runtime_);
        if (at < text.size()) run(part(field_text, at + 1), specification, depth + 1);
        if (conversion == 's') {
            value = make_string(runtime_, to_text(runtime_, value));
        } else if (conversion == 'r') {
            value = make_string(runtime_, to_repr(runtime_, value));
        } else if (conversion != 0) {
            runtime_.fail("the conversion '!{}' of a format field is not supported", conversion);
        }
        append(value, specification.text().text, into);
    }

    Value look_up(std::string_view name) {
        const std::size_t first_end = std::min(name.find_first_of(".["), name.size());
        const std::string_view first = name.substr(0, first_end);
        Value value;
        if (first.empty() || is_digit_at(first, 0)) {
            std::size_t digits = 0;
            const auto index = static_cast<std::size_t>(first.empty() ? static_cast<std::int64_t>(automatic_++)
                                                                      : parse_count(runtime_, first, digits, kMaxWidth));
            if (index >= arguments_.positional.size()) runtime_.fail("the format needs a value number {}", index);
            value = arguments_.positional[index];
        } else {
            const auto found = std::find_if(arguments_.keywords.begin(), arguments_.keywords.end(),
                                            [&](const auto& keyword) { return keyword.first == first; });
            if (found == arguments_.keywords.end())
                runtime_.fail("the format names '{}', which is not among the values", first);
            value = found->second;
        }
        for (std::size_t at = first_end; at < name.size();) {
            const bool attribute = name[at] == '.';
            const std::size_t end = attribute ? std::min(name.find_first_of(".[", at + 1), name.size()) : name.find(']', at);
            if (end == std::string_view::npos || end == at + 1) runtime_.fail("a format field has an empty attribute");
            const std::string_view key = name.substr(at + 1, end - at - 1);
            if (attribute) {
                value = get_attribute(runtime_, value, key);
            } else if (key.find_first_not_of("0123456789") == std::string_view::npos) {
                std::size_t digits = 0;
                value = get_item(runtime_, value, Value::integer(parse_count(runtime_, key, digits, INT64_MAX / 100)));
            } else {
                value = get_item(runtime_, value, make_string(runtime_, key));
            }
            at = end + (attribute ? 0 : 1);
        }
        return value;
    }

    Specification parse(std::string_view text) {
        Specification spec;
        std::size_t at = 0;
        const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
        std::size_t second = 0;
        if (!text.empty()) decode(text, second);
        if (second > 0 && second < text.size() && is_align(text[second])) {
            spec.fill = text.substr(0, second);
            spec.align = text[second];
            at = second + 1;
        } else if (!text.empty() && is_align(text[0])) {
            spec.align = text[at++];
        }
        if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
        if (at < text.size() && text[at] == '#') {
            spec.alternate = true;
            ++at;
        }
        if (at < text.size() && text[at] == '0') {
            if (spec.align == 0) {
                spec.fill = "0";
                spec.align = '=';
            }
            ++at;
        }
        spec.width = parse_count(runtime_, text, at, kMaxWidth);
        if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
        if (at < text.size() && text[at] == '.') {
            ++at;
            if (!is_digit_at(text, at)) runtime_.fail("a format specification lacks its precision");
            spec.precision = parse_count(runtime_, text, at, kMaxPrecision);
        }
        if (at < text.size()) spec.kind = text[at++];
        if (at < text.size()) runtime_.fail("invalid format specification '{}'", text);
        return spec;
    }

    void append(const Value& value, std::string_view specification, TextBuilder& into) {
        if (markup_) {
            if (!specification.empty() && value.is_string())
                runtime_.fail("a format specification in a safe string is not supported");
            if (specification.empty()) return into.append(text_of(escaped(runtime_, value)));
        }
        if (specification.empty()) return into.append(to_text(runtime_, value));
        const Specification spec = parse(specification);
        const auto unsupported = [&] {
            runtime_.fail("unknown format code '{}' for an object of type '{}'", spec.kind, type_name(value));
        };
        if (value.is_string()) {
            if ((spec.kind != 0 && spec.kind != 's') || spec.align == '=') unsupported();
            TaggedText text = text_of(value);
            if (spec.precision) text = part(text, 0, byte_of(text.text, static_cast<std::size_t>(*spec.precision)));
            return pad(runtime_, into, text, spec, '<');
        }
        if (!value.is_number()) runtime_.fail("a format specification for a '{}' is not supported", type_name(value));
        switch (spec.kind) {
            case 0:
                if (value.is(Type::real)) return append_real(runtime_, into, value, spec);
                [[fallthrough]];
            case 'd':
            case 'x':
            case 'X':
            case 'o':
            case 'b':
                if (!value.is_integral() || spec.precision) unsupported();
                return append_integer(runtime_, into, value, spec);
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
            case '%':
                return append_real(runtime_, into, value, spec);
            default:
                unsupported();
        }
    }

    Runtime& runtime_;
    const bool markup_;
    const CallArguments& arguments_;
    std::size_t automatic_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& values) {
    return PercentFormat(runtime, format, values).run();
}

Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments) {
    TextBuilder result(runtime);
    BraceFormat(runtime, format, arguments).run(text_of(format), result, 0);
    return make_string(runtime, result.take(), format.as<StringObject>().markup);
}

}  // namespace narae::jinja
