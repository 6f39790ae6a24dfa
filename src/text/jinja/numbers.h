// Python's arithmetic and number printing, on 64-bit integers: what would not fit is refused, never wrapped.
#pragma once

#include "text/jinja/value.h"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace narae::jinja {

enum class Arithmetic { add, subtract, multiply, divide, floor_divide, modulo, power };

// Both are numbers. Division by zero and results over 64 bits fail.
Value calculate(Runtime& runtime, Arithmetic operation, const Value& a, const Value& b);
Value negate(Runtime& runtime, const Value& number);
// Exact also between integers and floats.
std::partial_ordering compare_numbers(const Value& a, const Value& b);

double to_real(const Value& number);
// Towards zero; fails for NaN, infinity and what does not fit.
std::int64_t truncate(Runtime& runtime, double real);

std::string real_repr(double real);  // repr(float): the shortest digits that read back the same
// Fixed digits after the point, or e-notation, or %g; `kind` is one of "fFeEgG%"; `alternate` is the # flag.
std::string format_real(double real, char kind, int precision, bool alternate);

// int(text, base) and float(text): white space around, _ between digits. Nothing when Python raises ValueError;
// integers over 64 bits fail.
std::optional<std::int64_t> parse_integer(Runtime& runtime, std::string_view text, int base);
std::optional<double> parse_real(std::string_view text);

}  // namespace narae::jinja
