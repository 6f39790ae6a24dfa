#include "text/jinja/name_walk.h"

#include "text/jinja/lexer.h"
#include "text/jinja/limits.h"

namespace narae::jinja {
namespace {

void for_each_argument(ArgumentExpressions& arguments, const std::function<void(ExpressionPtr&)>& visit) {
    for (auto& argument : arguments.positional) visit(argument);
    for (auto& [name, argument] : arguments.keywords) visit(argument);
    visit(arguments.more_positional);
    visit(arguments.more_keywords);
}

// Stops at the first read or binding of the name, which decides.
class Search {
public:
    Search(std::string_view name, std::uint64_t& steps) : name_(name), steps_(steps) {}

    bool found() const { return read_; }

    void walk(const Body& body) {
        for (const auto& statement : body)
            if (!decided()) walk(*statement);
    }

private:
    bool decided() const { return read_ || bound_; }

    void walk(const ExpressionPtr& expression) {
        if (expression == nullptr || decided()) return;
        walk_names(*expression, [&](const std::string& name) {
            ++steps_;
            read_ = read_ || name == name_;
        });
    }

    void bind(std::string_view name) {
        if (!decided() && name == name_) bound_ = true;
    }

    void walk(const Target& target) {
        if (target.kind == Target::Kind::name) bind(target.name);
        for (const Target& item : target.items) walk(item);
    }

    void walk(const MacroDefinition& macro) {
        for (const MacroParameter& parameter : macro.parameters) bind(parameter.name);
        for (const MacroParameter& parameter : macro.parameters) walk(parameter.fallback);
        walk(macro.body);
    }

    void walk(const Statement& statement) {
        if (++steps_ > kMaxScopeSteps) syntax_error(statement.line, "macros inside macros make the template too complex");
        switch (statement.kind) {
            case StatementKind::text:
            case StatementKind::block:
            case StatementKind::break_loop:
            case StatementKind::continue_loop:
                break;
            case StatementKind::print:
                walk(static_cast<const PrintStatement&>(statement).value);
                break;
            case StatementKind::branch: {
                const auto& branch = static_cast<const BranchStatement&>(statement);
                for (const auto& [test, body] : branch.branches) {
                    walk(test);
                    walk(body);
                }
                walk(branch.otherwise);
                break;
            }
            case StatementKind::loop: {
                const auto& loop = static_cast<const ForStatement&>(statement);
                walk(loop.target);
                walk(loop.iterable);
                walk(loop.body);
                walk(loop.otherwise);
                walk(loop.test);
                break;
            }
            case StatementKind::set: {
                const auto& set = static_cast<const SetStatement&>(statement);
                walk(set.target);
                walk(set.value);
                break;
            }
            case StatementKind::set_block: {
                const auto& set = static_cast<const SetBlockStatement&>(statement);
                walk(set.target);
                walk(set.filter);
                walk(set.body);
                break;
            }
            case StatementKind::macro:
                walk(static_cast<const MacroStatement&>(statement).definition);
                break;
            case StatementKind::call_block:
            case StatementKind::generation: {
                const auto& block = static_cast<const CallBlockStatement&>(statement);
                walk(block.call);
                walk(block.caller);
                break;
            }
            case StatementKind::filter_block: {
                const auto& block = static_cast<const FilterBlockStatement&>(statement);
                walk(block.body);
                walk(block.filter);
                break;
            }
            case StatementKind::with: {
                const auto& with = static_cast<const WithStatement&>(statement);
                for (const auto& [target, value] : with.bindings) walk(target);
                for (const auto& [target, value] : with.bindings) walk(value);
                walk(with.body);
                break;
            }
            case StatementKind::refused:
                for (const auto& expression : static_cast<const RefusedStatement&>(statement).expressions) walk(expression);
        }
    }

    std::string_view name_;
    std::uint64_t& steps_;
    bool read_ = false, bound_ = false;
};

}  // namespace

void for_each_part(Expression& expression, const std::function<void(ExpressionPtr&)>& visit) {
    switch (expression.kind) {
        case ExpressionKind::literal:
        case ExpressionKind::name:
            break;
        case ExpressionKind::tuple:
        case ExpressionKind::list:
        case ExpressionKind::concatenate:
            for (auto& item : static_cast<SequenceExpression&>(expression).items) visit(item);
            break;
        case ExpressionKind::dict:
            for (auto& [key, value] : static_cast<DictExpression&>(expression).items) {
                visit(key);
                visit(value);
            }
            break;
        case ExpressionKind::conditional: {
            auto& conditional = static_cast<ConditionalExpression&>(expression);
            visit(conditional.test);
            visit(conditional.then);
            visit(conditional.otherwise);
            break;
        }
        case ExpressionKind::logical_not:
        case ExpressionKind::negate:
        case ExpressionKind::plus:
            visit(static_cast<UnaryExpression&>(expression).operand);
            break;
        case ExpressionKind::logical_and:
        case ExpressionKind::logical_or:
        case ExpressionKind::arithmetic:
            visit(static_cast<BinaryExpression&>(expression).left);
            visit(static_cast<BinaryExpression&>(expression).right);
            break;
        case ExpressionKind::compare: {
            auto& compare = static_cast<CompareExpression&>(expression);
            visit(compare.first);
            for (auto& [comparison, operand] : compare.rest) visit(operand);
            break;
        }
        case ExpressionKind::attribute:
            visit(static_cast<AttributeExpression&>(expression).object);
            break;
        case ExpressionKind::subscript:
            visit(static_cast<SubscriptExpression&>(expression).object);
            visit(static_cast<SubscriptExpression&>(expression).index);
            break;
        case ExpressionKind::slice: {
            auto& slice = static_cast<SliceExpression&>(expression);
            visit(slice.start);
            visit(slice.stop);
            visit(slice.step);
            break;
        }
        case ExpressionKind::call:
            visit(static_cast<CallExpression&>(expression).callee);
            for_each_argument(static_cast<CallExpression&>(expression).arguments, visit);
            break;
        case ExpressionKind::filter:
            visit(static_cast<FilterExpression&>(expression).operand);
            for_each_argument(static_cast<FilterExpression&>(expression).arguments, visit);
            break;
        case ExpressionKind::test:
            visit(static_cast<TestExpression&>(expression).operand);
            for_each_argument(static_cast<TestExpression&>(expression).arguments, visit);
            break;
    }
}

void walk_names(const Expression& expression, const std::function<void(const std::string&)>& load) {
    if (expression.kind == ExpressionKind::name) return load(static_cast<const NameExpression&>(expression).name);
    for_each_part(const_cast<Expression&>(expression), [&](ExpressionPtr& part) {
        if (part != nullptr) walk_names(*part, load);
    });
}

bool reads_undeclared(const Body& body, std::string_view name, std::uint64_t& steps) {
    Search search(name, steps);
    search.walk(body);
    return search.found();
}

}  // namespace narae::jinja
