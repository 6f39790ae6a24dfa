#include "text/jinja/expression_parser.h"

#include "base/error.h"
#include "text/jinja/numbers.h"

#include <algorithm>
#include <initializer_list>

namespace narae::jinja {
namespace {

// A name or a namespace's attribute that is assigned to; a plain name expression otherwise.
struct AssignedAttribute : NameExpression {
    AssignedAttribute(int at, std::string base, std::string of)
        : NameExpression(at, std::move(base)), attribute(std::move(of)) {}
    std::string attribute;
};

}  // namespace

void ExpressionParser::raise_over(Expression& expression, const Expression* part) const {
    if (part == nullptr) return;
    expression.height = std::max<std::uint16_t>(expression.height, static_cast<std::uint16_t>(part->height + 1));
    if (expression.height > kMaxChain) fail(fmt::format("an expression has more than {} levels", kMaxChain));
}

void ExpressionParser::raise_over(Expression& expression, const ArgumentExpressions& arguments) const {
    for (const auto& argument : arguments.positional) raise_over(expression, argument.get());
    for (const auto& [name, argument] : arguments.keywords) raise_over(expression, argument.get());
    raise_over(expression, arguments.more_positional.get());
    raise_over(expression, arguments.more_keywords.get());
}

template <class... Parts>
void ExpressionParser::raise(Expression& expression, const Parts&... parts) const {
    (raise_over(expression, parts.get()), ...);
}

bool ExpressionParser::next_is_name(std::string_view name) const {
    return at_ + 1 < tokens_.size() && tokens_[at_ + 1].kind == TokenKind::name && tokens_[at_ + 1].text == name;
}

bool ExpressionParser::take_symbol(std::string_view symbol) {
    if (!at_symbol(symbol)) return false;
    next();
    return true;
}

bool ExpressionParser::take_name(std::string_view name) {
    if (!at_name(name)) return false;
    next();
    return true;
}

void ExpressionParser::expect_symbol(std::string_view symbol) {
    if (!take_symbol(symbol)) fail(fmt::format("expected '{}', found {}", symbol, found()));
}

void ExpressionParser::expect_name(std::string_view name) {
    if (!take_name(name)) fail(fmt::format("expected '{}', found {}", name, found()));
}

const Token& ExpressionParser::expect(TokenKind kind, std::string_view what) {
    if (current().kind != kind) fail(fmt::format("expected '{}', found {}", what, found()));
    return next();
}

std::string ExpressionParser::found() const {
    switch (current().kind) {
        case TokenKind::end:
            return "the end of the template";
        case TokenKind::block_end:
            return "'%}'";
        case TokenKind::print_end:
            return "'}}'";
        case TokenKind::string:
            return "a string";
        default:
            return fmt::format("'{}'", current().text);
    }
}

ExpressionPtr ExpressionParser::make_literal(int line, LiteralValue value) {
    auto literal = std::make_unique<LiteralExpression>(line, std::move(value));
    literal->constant = static_cast<std::uint32_t>(literals_.size());
    literals_.push_back(literal.get());
    return literal;
}

ExpressionPtr ExpressionParser::make_binary(ExpressionKind kind, int operation, ExpressionPtr left, ExpressionPtr right) {
    auto expression = std::make_unique<BinaryExpression>(kind, left->line);
    raise(*expression, left, right);
    expression->operation = static_cast<std::uint8_t>(operation);
    expression->left = std::move(left);
    expression->right = std::move(right);
    return expression;
}

ExpressionPtr ExpressionParser::parse_expression(bool conditional) { return conditional ? parse_conditional() : parse_or(); }

ExpressionPtr ExpressionParser::parse_conditional() {
    ExpressionPtr value = parse_or();
    while (at_name("if")) {
        auto expression = std::make_unique<ConditionalExpression>(current().line);
        next();
        expression->then = std::move(value);
        expression->test = parse_or();
        if (take_name("else")) {
            const Nesting nesting(*this);
            expression->otherwise = parse_conditional();
        }
        raise(*expression, expression->then, expression->test, expression->otherwise);
        value = std::move(expression);
    }
    return value;
}

ExpressionPtr ExpressionParser::parse_or() {
    ExpressionPtr left = parse_and();
    while (take_name("or")) left = make_binary(ExpressionKind::logical_or, 0, std::move(left), parse_and());
    return left;
}

ExpressionPtr ExpressionParser::parse_and() {
    ExpressionPtr left = parse_not();
    while (take_name("and")) left = make_binary(ExpressionKind::logical_and, 0, std::move(left), parse_not());
    return left;
}

ExpressionPtr ExpressionParser::parse_not() {
    if (!at_name("not")) return parse_compare();
    const Nesting nesting(*this);
    auto expression = std::make_unique<UnaryExpression>(ExpressionKind::logical_not, current().line);
    next();
    expression->operand = parse_not();
    raise(*expression, expression->operand);
    return expression;
}

ExpressionPtr ExpressionParser::parse_compare() {
    constexpr std::pair<std::string_view, Comparison> kSymbols[] = {
        {"==", Comparison::equal},      {"!=", Comparison::not_equal}, {"<", Comparison::less},
        {"<=", Comparison::less_equal}, {">", Comparison::greater},    {">=", Comparison::greater_equal},
    };
    const auto take = [&](Comparison& comparison) {
        if (current().kind == TokenKind::symbol) {
            for (const auto& [symbol, which] : kSymbols) {
                if (current().text != symbol) continue;
                comparison = which;
                next();
                return true;
            }
        } else if (take_name("in")) {
            comparison = Comparison::in;
            return true;
        } else if (at_name("not") && next_is_name("in")) {
            next();
            next();
            comparison = Comparison::not_in;
            return true;
        }
        return false;
    };
    const int line = current().line;
    ExpressionPtr first = parse_sum();
    Comparison comparison{};
    if (!take(comparison)) return first;
    auto expression = std::make_unique<CompareExpression>(line);
    expression->first = std::move(first);
    do {
        expression->rest.emplace_back(comparison, parse_sum());
        raise(*expression, expression->first, expression->rest.back().second);
    } while (take(comparison));
    return expression;
}

ExpressionPtr ExpressionParser::parse_sum() {
    ExpressionPtr left = parse_concatenation();
    while (at_symbol("+") || at_symbol("-")) {
        const Arithmetic operation = current().text == "+" ? Arithmetic::add : Arithmetic::subtract;
        next();
        left = make_binary(ExpressionKind::arithmetic, static_cast<int>(operation), std::move(left), parse_concatenation());
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_concatenation() {
    ExpressionPtr first = parse_product();
    if (!at_symbol("~")) return first;
    auto expression = std::make_unique<SequenceExpression>(ExpressionKind::concatenate, first->line);
    raise(*expression, first);
    expression->items.push_back(std::move(first));
    while (take_symbol("~")) {
        expression->items.push_back(parse_product());
        raise(*expression, expression->items.back());
    }
    return expression;
}

ExpressionPtr ExpressionParser::parse_product() {
    constexpr std::pair<std::string_view, Arithmetic> kOperations[] = {
        {"*", Arithmetic::multiply}, {"/", Arithmetic::divide}, {"//", Arithmetic::floor_divide}, {"%", Arithmetic::modulo}};
    ExpressionPtr left = parse_power();
    while (current().kind == TokenKind::symbol) {
        const auto* operation = std::find_if(std::begin(kOperations), std::end(kOperations),
                                             [&](const auto& row) { return row.first == current().text; });
        if (operation == std::end(kOperations)) break;
        next();
        left = make_binary(ExpressionKind::arithmetic, static_cast<int>(operation->second), std::move(left), parse_power());
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_power() {
    ExpressionPtr left = parse_unary();
    while (take_symbol("**"))
        left = make_binary(ExpressionKind::arithmetic, static_cast<int>(Arithmetic::power), std::move(left), parse_unary());
    return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool filters) {
    const Nesting nesting(*this);
    ExpressionPtr expression;
    if (at_symbol("-") || at_symbol("+")) {
        auto unary =
            std::make_unique<UnaryExpression>(at_symbol("-") ? ExpressionKind::negate : ExpressionKind::plus, current().line);
        next();
        unary->operand = parse_unary(false);
        raise(*unary, unary->operand);
        expression = std::move(unary);
    } else {
        expression = parse_primary();
    }
    expression = parse_postfix(std::move(expression));
    return filters ? parse_filter_expression(std::move(expression)) : std::move(expression);
}

ExpressionPtr ExpressionParser::parse_primary(bool attributes) {
    const Token& token = current();
    switch (token.kind) {
        case TokenKind::name: {
            next();
            if (token.text == "true" || token.text == "True") return make_literal(token.line, true);
            if (token.text == "false" || token.text == "False") return make_literal(token.line, false);
            if (token.text == "none" || token.text == "None") return make_literal(token.line, std::monostate());
            if (attributes && take_symbol(".")) {
                const std::string attribute = expect(TokenKind::name, "a name").text;
                return std::make_unique<AssignedAttribute>(token.line, token.text, attribute);
            }
            return std::make_unique<NameExpression>(token.line, token.text);
        }
        case TokenKind::string: {
            std::string text;
            while (current().kind == TokenKind::string) text += next().text;
            return make_literal(token.line, std::move(text));
        }
        case TokenKind::integer:
            next();
            return make_literal(token.line, token.integer);
        case TokenKind::real:
            next();
            return make_literal(token.line, token.real);
        case TokenKind::symbol:
            if (take_symbol("(")) {
                ExpressionPtr expression = parse_tuple({.parenthesized = true});
                expect_symbol(")");
                return expression;
            }
            if (at_symbol("[")) return parse_list();
            if (at_symbol("{")) return parse_dict();
            break;
        default:
            break;
    }
    fail(fmt::format("expected an expression, found {}", found()));
}

ExpressionPtr ExpressionParser::parse_tuple(const TupleRules& rules) {
    const int line = current().line;
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    while (true) {
        if (!items.empty()) expect_symbol(",");
        const TokenKind kind = current().kind;
        if (kind == TokenKind::print_end || kind == TokenKind::block_end || at_symbol(")") ||
            (!rules.end_name.empty() && at_name(rules.end_name)))
            break;
        items.push_back(rules.simple ? parse_primary(rules.attributes) : parse_expression(rules.conditional));
        if (!at_symbol(",")) break;
        is_tuple = true;
    }
    if (!is_tuple) {
        if (!items.empty()) return std::move(items[0]);
        if (!rules.parenthesized) fail(fmt::format("expected an expression, found {}", found()));
    }
    auto tuple = std::make_unique<SequenceExpression>(ExpressionKind::tuple, line);
    for (const auto& item : items) raise(*tuple, item);
    tuple->items = std::move(items);
    return tuple;
}

ExpressionPtr ExpressionParser::parse_list() {
    auto list = std::make_unique<SequenceExpression>(ExpressionKind::list, next().line);
    while (!at_symbol("]")) {
        if (!list->items.empty()) expect_symbol(",");
        if (at_symbol("]")) break;
        list->items.push_back(parse_expression());
        raise(*list, list->items.back());
    }
    next();
    return list;
}

ExpressionPtr ExpressionParser::parse_dict() {
    auto dict = std::make_unique<DictExpression>(next().line);
    while (!at_symbol("}")) {
        if (!dict->items.empty()) expect_symbol(",");
        if (at_symbol("}")) break;
        ExpressionPtr key = parse_expression();
        expect_symbol(":");
        ExpressionPtr value = parse_expression();
        raise(*dict, key, value);
        dict->items.emplace_back(std::move(key), std::move(value));
    }
    next();
    return dict;
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr expression) {
    while (true) {
        if (at_symbol(".") || at_symbol("[")) {
            expression = parse_subscript(std::move(expression));
        } else if (at_symbol("(")) {
            expression = parse_call(std::move(expression));
        } else {
            return expression;
        }
    }
}

ExpressionPtr ExpressionParser::parse_filter_expression(ExpressionPtr expression) {
    while (true) {
        if (at_symbol("|")) {
            expression = parse_filters(std::move(expression));
        } else if (at_name("is")) {
            expression = parse_test(std::move(expression));
        } else if (at_symbol("(")) {
            expression = parse_call(std::move(expression));
        } else {
            return expression;
        }
    }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object) {
    const int line = current().line;
    if (take_symbol(".")) {
        const Token& token = current();
        if (token.kind == TokenKind::name) {
            next();
            auto attribute = std::make_unique<AttributeExpression>(line);
            raise(*attribute, object);
            attribute->object = std::move(object);
            attribute->name = token.text;
            return attribute;
        }
        if (token.kind != TokenKind::integer) fail(fmt::format("expected a name or number, found {}", found()));
        next();
        auto subscript = std::make_unique<SubscriptExpression>(line);
        raise(*subscript, object);
        subscript->object = std::move(object);
        subscript->index = make_literal(line, token.integer);
        return subscript;
    }
    next();
    std::vector<ExpressionPtr> indices;
    while (!at_symbol("]")) {
        if (!indices.empty()) expect_symbol(",");
        indices.push_back(parse_subscript_item());
    }
    next();
    auto subscript = std::make_unique<SubscriptExpression>(line);
    if (indices.size() == 1) {
        subscript->index = std::move(indices[0]);
    } else {
        auto tuple = std::make_unique<SequenceExpression>(ExpressionKind::tuple, line);
        for (const auto& index : indices) {
            if (index->kind == ExpressionKind::slice) syntax_error(line, "several slices in one subscript are not supported");
            raise(*tuple, index);
        }
        tuple->items = std::move(indices);
        subscript->index = std::move(tuple);
    }
    raise(*subscript, object, subscript->index);
    subscript->object = std::move(object);
    return subscript;
}

ExpressionPtr ExpressionParser::parse_subscript_item() {
    const int line = current().line;
    ExpressionPtr start;
    if (!at_symbol(":")) {
        start = parse_expression();
        if (!at_symbol(":")) return start;
    }
    auto slice = std::make_unique<SliceExpression>(line);
    next();
    slice->start = std::move(start);
    const auto ends = [&] { return at_symbol("]") || at_symbol(","); };
    if (!at_symbol(":") && !ends()) slice->stop = parse_expression();
    if (take_symbol(":") && !ends()) slice->step = parse_expression();
    raise(*slice, slice->start, slice->stop, slice->step);
    return slice;
}

ArgumentExpressions ExpressionParser::parse_arguments() {
    const int line = current().line;
    expect_symbol("(");
    ArgumentExpressions arguments;
    const auto ensure = [&](bool holds) {
        if (!holds) syntax_error(line, "invalid order of arguments in a call");
    };
    bool first = true;
    while (!at_symbol(")")) {
        if (!first) {
            expect_symbol(",");
            if (at_symbol(")")) break;
        }
        first = false;
        if (take_symbol("*")) {
            ensure(arguments.more_positional == nullptr && arguments.more_keywords == nullptr);
            arguments.more_positional = parse_expression();
        } else if (take_symbol("**")) {
            ensure(arguments.more_keywords == nullptr);
            arguments.more_keywords = parse_expression();
        } else if (current().kind == TokenKind::name && at_ + 1 < tokens_.size() &&
                   tokens_[at_ + 1].kind == TokenKind::symbol && tokens_[at_ + 1].text == "=") {
            ensure(arguments.more_keywords == nullptr);
            const std::string name = next().text;
            next();
            if (arguments.keywords.size() == kMaxArguments)
                fail(fmt::format("a call has more than {} keywords", kMaxArguments));
            for (const auto& [other, value] : arguments.keywords)
                if (other == name) fail(fmt::format("the argument '{}' is there twice", name));
            arguments.keywords.emplace_back(name, parse_expression());
        } else {
            ensure(arguments.more_positional == nullptr && arguments.more_keywords == nullptr && arguments.keywords.empty());
            arguments.positional.push_back(parse_expression());
        }
    }
    next();
    return arguments;
}

ExpressionPtr ExpressionParser::parse_call(ExpressionPtr callee) {
    auto call = std::make_unique<CallExpression>(current().line);
    call->arguments = parse_arguments();
    raise(*call, callee);
    raise_over(*call, call->arguments);
    call->callee = std::move(callee);
    return call;
}

ExpressionPtr ExpressionParser::parse_filter(ExpressionPtr operand) {
    auto filter = std::make_unique<FilterExpression>(current().line);
    filter->name = expect(TokenKind::name, "a filter's name").text;
    while (take_symbol(".")) filter->name += "." + expect(TokenKind::name, "a name").text;
    if (at_symbol("(")) filter->arguments = parse_arguments();
    raise(*filter, operand);
    raise_over(*filter, filter->arguments);
    filter->operand = std::move(operand);
    return filter;
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr operand) {
    while (take_symbol("|")) operand = parse_filter(std::move(operand));
    return operand;
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr operand) {
    const int line = next().line;
    const bool negated = take_name("not");
    auto test = std::make_unique<TestExpression>(line);
    test->name = expect(TokenKind::name, "a test's name").text;
    while (take_symbol(".")) test->name += "." + expect(TokenKind::name, "a name").text;
    const TokenKind kind = current().kind;
    if (at_symbol("(")) {
        test->arguments = parse_arguments();
    } else if ((kind == TokenKind::name || kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
                at_symbol("[") || at_symbol("{")) &&
               !at_name("else") && !at_name("or") && !at_name("and")) {
        if (at_name("is")) fail("several tests cannot be chained with 'is'");
        test->arguments.positional.push_back(parse_postfix(parse_primary()));
    }
    raise(*test, operand);
    raise_over(*test, test->arguments);
    test->operand = std::move(operand);
    if (!negated) return test;
    auto negation = std::make_unique<UnaryExpression>(ExpressionKind::logical_not, line);
    negation->operand = std::move(test);
    raise(*negation, negation->operand);
    return negation;
}

Target ExpressionParser::target_of(const Expression& expression) const {
    Target target;
    target.line = expression.line;
    if (const auto* attribute = dynamic_cast<const AssignedAttribute*>(&expression); attribute != nullptr) {
        target.kind = Target::Kind::attribute;
        target.name = attribute->name;
        target.attribute = attribute->attribute;
    } else if (expression.kind == ExpressionKind::name) {
        target.name = static_cast<const NameExpression&>(expression).name;
    } else if (expression.kind == ExpressionKind::tuple) {
        target.kind = Target::Kind::tuple;
        for (const auto& item : static_cast<const SequenceExpression&>(expression).items)
            target.items.push_back(target_of(*item));
    } else {
        syntax_error(expression.line, "this cannot be assigned to");
    }
    return target;
}

Target ExpressionParser::parse_target(TupleRules rules) {
    rules.simple = true;
    const std::size_t literals = literals_.size();
    const ExpressionPtr expression = parse_tuple(rules);
    Target target = target_of(*expression);
    literals_.resize(literals);
    return target;
}

std::string ExpressionParser::parse_assignable_name() {
    const Token& token = expect(TokenKind::name, "a name");
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"})
        if (token.text == constant) syntax_error(token.line, fmt::format("'{}' cannot be assigned to", constant));
    return token.text;
}

}  // namespace narae::jinja
