// What stands behind `is`.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <iterator>

namespace narae::jinja {
namespace {

// A question about the value alone.
template <bool (*kAsk)(const Value&)>
bool ask(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this test", arguments);
    return kAsk(operand);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is(Type::boolean); }
bool is_true(const Value& value) { return value.is(Type::boolean) && value.as_boolean(); }
bool is_false(const Value& value) { return value.is(Type::boolean) && !value.as_boolean(); }
bool is_integer(const Value& value) { return value.is(Type::integer); }
bool is_float(const Value& value) { return value.is(Type::real); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is(Type::dict); }
bool is_iterable_or_loop(const Value& value) { return is_iterable(value) || value.is(Type::loop); }
bool is_escaped(const Value& value) { return value.is_string() && value.as<StringObject>().markup; }

// Has a length and can be indexed. An undefined value counts, as it has both methods.
bool is_sequence(const Value& value) { return is_iterable(value) && !value.is(Type::generator) && !value.is(Type::view); }

bool is_callable(const Value& value) {
    switch (value.type()) {
        case Type::undefined:
        case Type::macro:
        case Type::function:
        case Type::loop:
        case Type::joiner:
            return true;
        default:
            return false;
    }
}

template <bool kUpper>
bool test_case(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this test", arguments);
    const TaggedText text = to_text(interpreter.runtime, operand);
    charge_map(interpreter.runtime, text.text);
    bool any = false;
    for (std::size_t at = 0; at < text.text.size();) {
        const char32_t code = decode(text.text, at);
        if (!is_cased(code)) continue;
        if (!(kUpper ? is_upper(code) : is_lower(code))) return false;
        any = true;
    }
    return any;
}

Value modulo(Runtime& runtime, const Value& operand, const Value& divisor) {
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!operand.is_number()) runtime.fail("a number is needed, not {}", type_name(operand));
    return arithmetic(runtime, Arithmetic::modulo, operand, divisor);
}

template <std::int64_t kRest>
bool test_parity(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this test", arguments);
    return equals(interpreter.runtime, modulo(interpreter.runtime, operand, Value::integer(2)), Value::integer(kRest));
}

bool test_divisibleby(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    const auto [number] = bind(interpreter.runtime, "divisibleby", arguments, {"num"}, 1);
    return equals(interpreter.runtime, modulo(interpreter.runtime, operand, number), Value::integer(0));
}

bool test_sameas(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    const auto [other] = bind(interpreter.runtime, "sameas", arguments, {"other"}, 1);
    if (operand.type() != other.type()) return false;
    if (operand.is_none()) return true;
    if (operand.is_number()) return compare_numbers(operand, other) == std::partial_ordering::equivalent;
    return operand.object() == other.object();
}

bool test_in(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    const auto [container] = bind(interpreter.runtime, "in", arguments, {"seq"}, 1);
    return contains(interpreter.runtime, container, operand);
}

template <Comparison kComparison>
bool test_compare(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [other] = bind(runtime, "this test", arguments, {"other"}, 1, Keywords::refused);
    switch (kComparison) {
        case Comparison::equal:
            return equals(runtime, operand, other);
        case Comparison::not_equal:
            return !equals(runtime, operand, other);
        case Comparison::less:
            return order(runtime, operand, other) < 0;
        case Comparison::less_equal:
            return order(runtime, operand, other) <= 0;
        case Comparison::greater:
            return order(runtime, operand, other) > 0;
        default:
            return order(runtime, operand, other) >= 0;
    }
}

template <bool kFilter>
bool test_known(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this test", arguments);
    if (!operand.is_string()) return false;
    return kFilter ? find_filter(view_of(operand)) != nullptr : find_test(view_of(operand)) != nullptr;
}

constexpr Test kTests[] = {
    {"defined", ask<is_defined>},
    {"undefined", ask<is_undefined>},
    {"none", ask<is_none>},
    {"boolean", ask<is_boolean>},
    {"true", ask<is_true>},
    {"false", ask<is_false>},
    {"integer", ask<is_integer>},
    {"float", ask<is_float>},
    {"number", ask<is_number>},
    {"string", ask<is_string>},
    {"mapping", ask<is_mapping>},
    {"sequence", ask<is_sequence>},
    {"iterable", ask<is_iterable_or_loop>},
    {"callable", ask<is_callable>},
    {"escaped", ask<is_escaped>},
    {"lower", test_case<false>},
    {"upper", test_case<true>},
    {"odd", test_parity<1>},
    {"even", test_parity<0>},
    {"divisibleby", test_divisibleby},
    {"sameas", test_sameas},
    {"in", test_in},
    {"filter", test_known<true>},
    {"test", test_known<false>},
    {"==", test_compare<Comparison::equal>},
    {"eq", test_compare<Comparison::equal>},
    {"equalto", test_compare<Comparison::equal>},
    {"!=", test_compare<Comparison::not_equal>},
    {"ne", test_compare<Comparison::not_equal>},
    {">", test_compare<Comparison::greater>},
    {"gt", test_compare<Comparison::greater>},
    {"greaterthan", test_compare<Comparison::greater>},
    {">=", test_compare<Comparison::greater_equal>},
    {"ge", test_compare<Comparison::greater_equal>},
    {"<", test_compare<Comparison::less>},
    {"lt", test_compare<Comparison::less>},
    {"lessthan", test_compare<Comparison::less>},
    {"<=", test_compare<Comparison::less_equal>},
    {"le", test_compare<Comparison::less_equal>},
};

}  // namespace

const Test* find_test(std::string_view name) {
    const auto* found = std::find_if(std::begin(kTests), std::end(kTests), [&](const Test& test) { return test.name == name; });
    return found != std::end(kTests) ? found : nullptr;
}

const Filter* find_filter(std::string_view name) {
    for (const std::span<const Filter> filters : {text_filters(), sequence_filters(), number_filters()})
        for (const Filter& filter : filters)
            if (filter.name == name) return &filter;
    return nullptr;
}

}  // namespace narae::jinja
