#include "text/jinja/numbers.h"

#include "text/jinja/text_parts.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace narae::jinja {
namespace {

[[noreturn]] void overflow(Runtime& runtime) { runtime.fail("an integer does not fit 64 bits"); }

std::int64_t floor_divide(Runtime& runtime, std::int64_t a, std::int64_t b) {
    if (b == -1) {
        std::int64_t result;
        if (__builtin_sub_overflow(std::int64_t{0}, a, &result)) overflow(runtime);
        return result;
    }
    const std::int64_t quotient = a / b;
    return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

double floor_modulo(double a, double b) {
    double remainder = std::fmod(a, b);
    if (remainder != 0) {
        if ((b < 0) != (remainder < 0)) remainder += b;
    } else {
        remainder = std::copysign(0.0, b);
    }
    return remainder;
}

// As float.__floordiv__, which works from the remainder.
double floor_divide(double a, double b) {
    const double remainder = std::fmod(a, b);
    double quotient = (a - remainder) / b;
    if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

std::int64_t integer_power(Runtime& runtime, std::int64_t base, std::int64_t exponent) {
    std::int64_t result = 1;
    while (exponent > 0) {
        if (exponent & 1) {
            if (__builtin_mul_overflow(result, base, &result)) overflow(runtime);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow(runtime);
    }
    return result;
}

Value calculate_integers(Runtime& runtime, Arithmetic operation, std::int64_t a, std::int64_t b, bool trusted) {
    std::int64_t result = 0;
    switch (operation) {
        case Arithmetic::add:
            if (__builtin_add_overflow(a, b, &result)) overflow(runtime);
            break;
        case Arithmetic::subtract:
            if (__builtin_sub_overflow(a, b, &result)) overflow(runtime);
            break;
        case Arithmetic::multiply:
            if (__builtin_mul_overflow(a, b, &result)) overflow(runtime);
            break;
        case Arithmetic::divide:
            if (b == 0) runtime.fail("division by zero");
            return Value::real(static_cast<double>(a) / static_cast<double>(b), trusted);
        case Arithmetic::floor_divide:
            if (b == 0) runtime.fail("integer division or modulo by zero");
            result = floor_divide(runtime, a, b);
            break;
        case Arithmetic::modulo:
            if (b == 0) runtime.fail("integer division or modulo by zero");
            result = b == -1 ? 0 : a - floor_divide(runtime, a, b) * b;
            break;
        case Arithmetic::power:
            if (b >= 0) {
                result = integer_power(runtime, a, b);
                break;
            }
            if (a == 0) runtime.fail("0.0 cannot be raised to a negative power");
            return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)), trusted);
    }
    return Value::integer(result, trusted);
}

// The shortest digits of a finite number without sign, and its decimal exponent: d.ddd × 10^exponent.
std::pair<std::string, int> shortest_digits(double magnitude) {
    char buffer[40];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, std::chars_format::scientific).ptr;
    const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
    const std::size_t e = text.find('e');
    std::string digits;
    for (const char c : text.substr(0, e))
        if (c != '.') digits.push_back(c);
    int exponent = 0;
    const char* from = text.data() + e + 1;
    if (*from == '+') ++from;
    std::from_chars(from, end, exponent);
    return {digits, exponent};
}

// Digits with _ between them and white space around, as int() and float() allow; nothing when the _ are misplaced.
std::optional<std::string> plain_number(std::string_view text) {
    const auto [begin, end] = strip_bounds(text, nullptr, true, true);
    text = text.substr(begin, end - begin);
    std::string plain;
    const auto is_alnum = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_') {
            plain.push_back(text[i]);
        } else if (i == 0 || i + 1 == text.size() || !is_alnum(text[i - 1]) || !is_alnum(text[i + 1])) {
            return std::nullopt;
        }
    }
    return plain;
}

}  // namespace

double to_real(const Value& number) {
    return number.is(Type::real) ? number.as_real() : static_cast<double>(number.as_integer());
}

Value calculate(Runtime& runtime, Arithmetic operation, const Value& left, const Value& right) {
    const bool trusted = left.trusted() && right.trusted();
    if (left.is_integral() && right.is_integral())
        return calculate_integers(runtime, operation, left.as_integer(), right.as_integer(), trusted);
    const double a = to_real(left), b = to_real(right);
    double result = 0;
    switch (operation) {
        case Arithmetic::add:
            result = a + b;
            break;
        case Arithmetic::subtract:
            result = a - b;
            break;
        case Arithmetic::multiply:
            result = a * b;
            break;
        case Arithmetic::divide:
            if (b == 0) runtime.fail("float division by zero");
            result = a / b;
            break;
        case Arithmetic::floor_divide:
            if (b == 0) runtime.fail("float floor division by zero");
            result = floor_divide(a, b);
            break;
        case Arithmetic::modulo:
            if (b == 0) runtime.fail("float modulo by zero");
            result = floor_modulo(a, b);
            break;
        case Arithmetic::power:
            if (a == 0 && b < 0) runtime.fail("0.0 cannot be raised to a negative power");
            if (a < 0 && std::isfinite(b) && b != std::floor(b)) runtime.fail("complex numbers are not supported");
            result = std::pow(a, b);
            if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) runtime.fail("numerical result out of range");
            break;
    }
    return Value::real(result, trusted);
}

Value negate(Runtime& runtime, const Value& number) {
    if (number.is(Type::real)) return Value::real(-number.as_real(), number.trusted());
    std::int64_t result;
    if (__builtin_sub_overflow(std::int64_t{0}, number.as_integer(), &result)) overflow(runtime);
    return Value::integer(result, number.trusted());
}

std::partial_ordering compare_numbers(const Value& left, const Value& right) {
    if (left.is_integral() && right.is_integral()) return left.as_integer() <=> right.as_integer();
    if (left.is(Type::real) && right.is(Type::real)) return left.as_real() <=> right.as_real();
    if (left.is(Type::real)) {
        const auto reversed = compare_numbers(right, left);
        return reversed < 0 ? std::partial_ordering::greater : reversed > 0 ? std::partial_ordering::less : reversed;
    }
    const std::int64_t integer = left.as_integer();
    const double real = right.as_real();
    if (std::isnan(real)) return std::partial_ordering::unordered;
    if (real >= 0x1p63) return std::partial_ordering::less;
    if (real < -0x1p63) return std::partial_ordering::greater;
    const double floored = std::floor(real);
    const auto whole = static_cast<std::int64_t>(floored);
    if (integer != whole) return integer <=> whole;
    return real > floored ? std::partial_ordering::less : std::partial_ordering::equivalent;
}

std::int64_t truncate(Runtime& runtime, double real) {
    if (std::isnan(real)) runtime.fail("cannot convert float NaN to integer");
    if (std::isinf(real)) runtime.fail("cannot convert float infinity to integer");
    if (real >= 0x1p63 || real < -0x1p63) overflow(runtime);
    return static_cast<std::int64_t>(real);
}

std::string real_repr(double real) {
    if (std::isnan(real)) return "nan";
    std::string result = std::signbit(real) ? "-" : "";
    if (std::isinf(real)) return result + "inf";
    auto [digits, exponent] = shortest_digits(std::fabs(real));
    const int count = static_cast<int>(digits.size());
    if (exponent < -4 || exponent >= 16) {
        result += digits[0];
        if (count > 1) result.append(".").append(digits, 1);
        return result + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
    }
    if (exponent < 0) return result + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    if (exponent + 1 >= count) return result + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
    return result + digits.substr(0, static_cast<std::size_t>(exponent + 1)) + "." +
           digits.substr(static_cast<std::size_t>(exponent + 1));
}

std::string format_real(double real, char kind, int precision, bool alternate) {
    if (!std::isfinite(real)) {
        std::string name = std::isnan(real) ? "nan" : std::signbit(real) ? "-inf" : "inf";
        if (kind == 'F' || kind == 'E' || kind == 'G')
            std::transform(name.begin(), name.end(), name.begin(),
                           [](char c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c); });
        return kind == '%' ? name + "%" : name;
    }
    switch (kind) {
        case 'e':
            return alternate ? fmt::format("{:#.{}e}", real, precision) : fmt::format("{:.{}e}", real, precision);
        case 'E':
            return alternate ? fmt::format("{:#.{}E}", real, precision) : fmt::format("{:.{}E}", real, precision);
        case 'g':
            return alternate ? fmt::format("{:#.{}g}", real, precision) : fmt::format("{:.{}g}", real, precision);
        case 'G':
            return alternate ? fmt::format("{:#.{}G}", real, precision) : fmt::format("{:.{}G}", real, precision);
        case '%':
            return fmt::format("{:.{}f}%", real * 100, precision);
        default:
            return alternate ? fmt::format("{:#.{}f}", real, precision) : fmt::format("{:.{}f}", real, precision);
    }
}

std::optional<std::int64_t> parse_integer(Runtime& runtime, std::string_view text, int base) {
    const std::optional<std::string> plain = plain_number(text);
    if (!plain) return std::nullopt;
    std::string_view digits = *plain;
    bool negative = false;
    if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
        negative = digits[0] == '-';
        digits.remove_prefix(1);
    }
    if (digits.size() > 1 && digits[0] == '0') {
        const char mark = static_cast<char>(digits[1] | 0x20);
        const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        if (marked != 0 && (base == marked || base == 0)) {
            base = marked;
            digits.remove_prefix(2);
        }
    }
    if (base == 0) {
        if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string_view::npos)
            return std::nullopt;
        base = 10;
    }
    if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
    const std::string signed_digits = (negative ? "-" : "") + std::string(digits);
    std::int64_t value = 0;
    const char* end = signed_digits.data() + signed_digits.size();
    const auto [stopped, error] = std::from_chars(signed_digits.data(), end, value, base);
    if (stopped != end) return std::nullopt;
    if (error == std::errc::result_out_of_range) overflow(runtime);
    return value;
}

std::optional<double> parse_real(std::string_view text) {
    const std::optional<std::string> plain = plain_number(text);
    if (!plain) return std::nullopt;
    std::string_view digits = *plain;
    bool negative = false;
    if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
        negative = digits[0] == '-';
        digits.remove_prefix(1);
    }
    if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
    std::string lower(digits);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
    double value = 0;
    if (lower == "inf" || lower == "infinity") {
        value = std::numeric_limits<double>::infinity();
    } else if (lower == "nan") {
        value = std::numeric_limits<double>::quiet_NaN();
    } else {
        if (lower.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
        const char* end = lower.data() + lower.size();
        const auto [stopped, error] = std::from_chars(lower.data(), end, value);
        if (stopped != end || error == std::errc::invalid_argument) return std::nullopt;
        if (error == std::errc::result_out_of_range) {
            // from_chars leaves the value alone: too large is infinity for Python, too small is zero.
            const std::size_t e = lower.find('e');
            const bool small = e != std::string::npos ? lower[e + 1] == '-' : lower.find_first_not_of("0.") > lower.find('.');
            value = small ? 0.0 : std::numeric_limits<double>::infinity();
        }
    }
    return negative ? -value : value;
}

}  // namespace narae::jinja
