// The interpreter's expressions.
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

namespace narae::jinja {

Value& Interpreter::constant(const LiteralExpression& literal) {
    Value& value = constants_[literal.constant];
    if (!value.is_missing()) return value;
    struct Maker {
        Runtime& runtime;
        Value operator()(std::monostate) const { return Value::none(); }
        Value operator()(bool boolean) const { return Value::boolean(boolean); }
        Value operator()(std::int64_t integer) const { return Value::integer(integer); }
        Value operator()(double real) const { return Value::real(real); }
        Value operator()(const std::string& text) const { return make_string(runtime, text); }
    };
    value = std::visit(Maker{runtime}, literal.value);
    return value;
}

Value Interpreter::evaluate(const Expression& expression, EnvironmentObject& environment) {
    runtime.charge();
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    switch (expression.kind) {
        case ExpressionKind::literal:
            return constant(static_cast<const LiteralExpression&>(expression));
        case ExpressionKind::name: {
            const auto& name = static_cast<const NameExpression&>(expression);
            const Value& value = variable(name.variable, environment);
            if (!value.is_missing()) return value;
            return make_undefined(runtime, fmt::format("'{}' is undefined", name.name));
        }
        case ExpressionKind::tuple:
            return make_tuple(runtime, evaluate_all(static_cast<const SequenceExpression&>(expression).items, environment));
        case ExpressionKind::list:
            return make_list(runtime, evaluate_all(static_cast<const SequenceExpression&>(expression).items, environment));
        case ExpressionKind::dict: {
            Value dict(Type::dict, new DictObject(runtime));
            for (const auto& [key, value] : static_cast<const DictExpression&>(expression).items) {
                const Value name = evaluate(*key, environment);
                dict.as<DictObject>().set(name, evaluate(*value, environment));
            }
            return dict;
        }
        case ExpressionKind::conditional: {
            const auto& conditional = static_cast<const ConditionalExpression&>(expression);
            if (truth(evaluate(*conditional.test, environment))) return evaluate(*conditional.then, environment);
            if (conditional.otherwise != nullptr) return evaluate(*conditional.otherwise, environment);
            return make_undefined(runtime, "the inline if-expression evaluated to false and has no else");
        }
        case ExpressionKind::logical_not:
            return Value::boolean(!truth(evaluate(*static_cast<const UnaryExpression&>(expression).operand, environment)));
        case ExpressionKind::logical_and:
        case ExpressionKind::logical_or: {
            const auto& binary = static_cast<const BinaryExpression&>(expression);
            Value left = evaluate(*binary.left, environment);
            return truth(left) == (expression.kind == ExpressionKind::logical_or) ? left : evaluate(*binary.right, environment);
        }
        case ExpressionKind::negate:
        case ExpressionKind::plus: {
            const Value operand = evaluate(*static_cast<const UnaryExpression&>(expression).operand, environment);
            if (operand.is_undefined()) fail_undefined(runtime, operand);
            if (!operand.is_number()) runtime.fail("bad operand type for a sign: '{}'", type_name(operand));
            if (expression.kind == ExpressionKind::negate) return negate(runtime, operand);
            return operand.is(Type::real) ? operand : Value::integer(operand.as_integer(), operand.trusted());
        }
        case ExpressionKind::arithmetic: {
            const auto& binary = static_cast<const BinaryExpression&>(expression);
            const Value left = evaluate(*binary.left, environment);
            const Value right = evaluate(*binary.right, environment);
            return arithmetic(runtime, static_cast<Arithmetic>(binary.operation), left, right);
        }
        case ExpressionKind::concatenate: {
            const std::vector<Value> parts =
                evaluate_all(static_cast<const SequenceExpression&>(expression).items, environment);
            TextBuilder text(runtime);
            for (const Value& value : parts) print(value, text);
            return make_string(runtime, text.take());
        }
        case ExpressionKind::compare:
            return evaluate_compare(static_cast<const CompareExpression&>(expression), environment);
        case ExpressionKind::attribute: {
            const auto& attribute = static_cast<const AttributeExpression&>(expression);
            const Value object = evaluate(*attribute.object, environment);
            return get_attribute(runtime, object, attribute.name);
        }
        case ExpressionKind::subscript:
            return evaluate_subscript(static_cast<const SubscriptExpression&>(expression), environment);
        case ExpressionKind::call:
            return evaluate_call(static_cast<const CallExpression&>(expression), environment, Value());
        case ExpressionKind::filter:
            return evaluate_filter(static_cast<const FilterExpression&>(expression), environment, nullptr);
        case ExpressionKind::test:
            return evaluate_test(static_cast<const TestExpression&>(expression), environment);
        case ExpressionKind::slice:
            break;
    }
    runtime.fail("a slice stands outside of a subscript");
}

std::vector<Value> Interpreter::evaluate_all(const std::vector<ExpressionPtr>& expressions, EnvironmentObject& environment) {
    std::vector<Value> values;
    values.reserve(expressions.size());
    for (const auto& expression : expressions) values.push_back(evaluate(*expression, environment));
    return values;
}

Value Interpreter::evaluate_compare(const CompareExpression& expression, EnvironmentObject& environment) {
    Value left = evaluate(*expression.first, environment);
    bool holds = true;
    for (const auto& [comparison, operand] : expression.rest) {
        Value right = evaluate(*operand, environment);
        switch (comparison) {
            case Comparison::equal:
                holds = equals(runtime, left, right);
                break;
            case Comparison::not_equal:
                holds = !equals(runtime, left, right);
                break;
            case Comparison::less:
                holds = order(runtime, left, right) < 0;
                break;
            case Comparison::less_equal:
                holds = order(runtime, left, right) <= 0;
                break;
            case Comparison::greater:
                holds = order(runtime, left, right) > 0;
                break;
            case Comparison::greater_equal:
                holds = order(runtime, left, right) >= 0;
                break;
            case Comparison::in:
                holds = contains(runtime, right, left);
                break;
            case Comparison::not_in:
                holds = !contains(runtime, right, left);
                break;
        }
        if (!holds) break;
        left = std::move(right);
    }
    return Value::boolean(holds);
}

Value Interpreter::evaluate_subscript(const SubscriptExpression& expression, EnvironmentObject& environment) {
    const Value object = evaluate(*expression.object, environment);
    if (expression.index->kind != ExpressionKind::slice) {
        const Value key = evaluate(*expression.index, environment);
        return get_item(runtime, object, key);
    }
    const auto& parts = static_cast<const SliceExpression&>(*expression.index);
    const auto bound = [&](const ExpressionPtr& part) { return part != nullptr ? evaluate(*part, environment) : Value(); };
    const Value start = bound(parts.start), stop = bound(parts.stop), step = bound(parts.step);
    return slice(runtime, object, start, stop, step);
}

CallArguments Interpreter::evaluate_arguments(const ArgumentExpressions& arguments, EnvironmentObject& environment) {
    CallArguments result;
    result.positional = evaluate_all(arguments.positional, environment);
    for (const auto& [name, expression] : arguments.keywords)
        result.keywords.emplace_back(name, evaluate(*expression, environment));
    if (arguments.more_positional != nullptr) {
        const Value more = iterate(runtime, evaluate(*arguments.more_positional, environment));
        result.positional.insert(result.positional.end(), items_of(more).begin(), items_of(more).end());
    }
    if (arguments.more_keywords != nullptr) {
        const Value more = evaluate(*arguments.more_keywords, environment);
        if (!more.is(Type::dict)) runtime.fail("the argument after ** must be a mapping, not {}", type_name(more));
        for (const auto& [key, value] : more.as<DictObject>().entries) {
            if (!key.is_string()) runtime.fail("keywords must be strings, not {}", type_name(key));
            if (result.keywords.size() == kMaxArguments) runtime.fail("a call has more than {} keywords", kMaxArguments);
            for (const auto& [name, other] : result.keywords)
                if (name == view_of(key)) runtime.fail("the argument '{}' is there twice", name);
            runtime.charge(1 + result.keywords.size());
            result.keywords.emplace_back(view_of(key), value);
        }
    }
    return result;
}

Value Interpreter::evaluate_call(const CallExpression& expression, EnvironmentObject& environment, const Value& caller) {
    const Value callee = evaluate(*expression.callee, environment);
    CallArguments arguments = evaluate_arguments(expression.arguments, environment);
    if (!caller.is_missing()) arguments.keywords.emplace_back("caller", caller);
    runtime.line = expression.line;
    return call(callee, arguments);
}

Value Interpreter::evaluate_filter(const FilterExpression& expression, EnvironmentObject& environment, const Value* block) {
    Value operand;
    if (expression.operand == nullptr) {
        operand = *block;
    } else if (block != nullptr && expression.operand->kind == ExpressionKind::filter) {
        const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
        operand = evaluate_filter(static_cast<const FilterExpression&>(*expression.operand), environment, block);
    } else {
        operand = evaluate(*expression.operand, environment);
    }
    CallArguments arguments = evaluate_arguments(expression.arguments, environment);
    runtime.line = expression.line;
    if (expression.filter == nullptr) runtime.fail("no filter named '{}'", expression.name);
    return expression.filter->apply(*this, operand, arguments);
}

Value Interpreter::evaluate_test(const TestExpression& expression, EnvironmentObject& environment) {
    const Value operand = evaluate(*expression.operand, environment);
    CallArguments arguments = evaluate_arguments(expression.arguments, environment);
    runtime.line = expression.line;
    if (expression.test == nullptr) runtime.fail("no test named '{}'", expression.name);
    return Value::boolean(expression.test->holds(*this, operand, arguments));
}

}  // namespace narae::jinja
