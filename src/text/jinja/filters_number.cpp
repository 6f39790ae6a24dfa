// Filters that make numbers.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

#include <cmath>

namespace narae::jinja {
namespace {

bool is_trusted_value(const Value& value) { return value.is_string() ? is_trusted(text_of(value)) : value.trusted(); }

Value filter_int(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [fallback, base] = bind(runtime, "int", arguments, {"default", "base"});
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    const bool trusted = is_trusted_value(operand);
    const Value otherwise = fallback.is_missing() ? Value::integer(0) : fallback;
    if (operand.is_integral()) return Value::integer(operand.as_integer(), trusted);
    double real = 0;
    if (operand.is(Type::real)) {
        real = operand.as_real();
        if (std::isinf(real)) runtime.fail("cannot convert float infinity to integer");
    } else if (operand.is_string()) {
        const std::int64_t radix = integer_or(runtime, base, 10, "int");
        if (radix != 0 && (radix < 2 || radix > 36)) return otherwise;
        if (const auto integer = parse_integer(runtime, view_of(operand), static_cast<int>(radix)))
            return Value::integer(*integer, trusted);
        const auto parsed = parse_real(view_of(operand));
        if (!parsed || std::isinf(*parsed)) return otherwise;
        real = *parsed;
    } else {
        return otherwise;
    }
    if (std::isnan(real)) return otherwise;
    return Value::integer(truncate(runtime, real), trusted);
}

Value filter_float(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [fallback] = bind(runtime, "float", arguments, {"default"});
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    const bool trusted = is_trusted_value(operand);
    if (operand.is_number()) return Value::real(to_real(operand), trusted);
    if (operand.is_string()) {
        if (const auto real = parse_real(view_of(operand))) return Value::real(*real, trusted);
    }
    return fallback.is_missing() ? Value::real(0) : fallback;
}

Value filter_abs(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "abs", arguments);
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!operand.is_number()) runtime.fail("bad operand type for abs(): '{}'", type_name(operand));
    if (operand.is(Type::real)) return Value::real(std::fabs(operand.as_real()), operand.trusted());
    return operand.as_integer() < 0 ? negate(runtime, operand) : Value::integer(operand.as_integer(), operand.trusted());
}

// round(): half to even, decided on the exact value.
double rounded(double real, std::int64_t precision) {
    if (!std::isfinite(real) || precision > 300) return real;
    if (precision >= 0) return parse_real(format_real(real, 'f', static_cast<int>(precision), false)).value_or(real);
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return std::isinf(unit) ? std::copysign(0.0, real) : std::nearbyint(real / unit) * unit;
}

Value filter_round(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [precision_value, method_value] = bind(runtime, "round", arguments, {"precision", "method"});
    const std::int64_t precision = integer_or(runtime, precision_value, 0, "round");
    const std::string_view method = method_value.is_missing()  ? "common"
                                    : method_value.is_string() ? view_of(method_value)
                                                               : "";
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!operand.is_number()) runtime.fail("round needs a number, not {}", type_name(operand));
    if (method == "common") {
        if (operand.is_integral() && precision >= 0) return Value::integer(operand.as_integer(), operand.trusted());
        const double result = rounded(to_real(operand), precision);
        if (operand.is_integral()) return Value::integer(truncate(runtime, result), operand.trusted());
        return Value::real(result, operand.trusted());
    }
    if (method != "ceil" && method != "floor") runtime.fail("the method of round must be common, ceil or floor");
    const double unit = std::pow(10.0, static_cast<double>(precision));
    const double scaled = to_real(operand) * unit;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit, operand.trusted());
}

Value filter_filesizeformat(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [binary_value] = bind(runtime, "filesizeformat", arguments, {"binary"});
    const auto parsed = operand.is_number()   ? std::optional(to_real(operand))
                        : operand.is_string() ? parse_real(view_of(operand))
                                              : std::nullopt;
    if (!parsed) runtime.fail("filesizeformat needs a number, not {}", type_name(operand));
    const bool binary = truth_or(binary_value, false);
    const double base = binary ? 1024 : 1000;
    const bool trusted = is_trusted_value(operand);
    if (*parsed == 1) return make_string(runtime, "1 Byte", trusted);
    if (*parsed < base) return make_string(runtime, fmt::format("{} Bytes", truncate(runtime, *parsed)), trusted);
    const std::string_view letters = binary ? "KMGTPEZY" : "kMGTPEZY";
    double unit = base;
    std::size_t i = 0;
    for (; i < letters.size(); ++i) {
        unit *= base;
        if (*parsed < unit) break;
    }
    i = std::min(i, letters.size() - 1);
    return make_string(
        runtime, fmt::format("{} {}{}B", format_real(base * *parsed / unit, 'f', 1, false), letters[i], binary ? "i" : ""),
        trusted);
}

constexpr Filter kFilters[] = {
    {"int", filter_int},
    {"float", filter_float},
    {"abs", filter_abs},
    {"round", filter_round},
    {"filesizeformat", filter_filesizeformat},
};

}  // namespace

std::span<const Filter> number_filters() { return kFilters; }

}  // namespace narae::jinja
