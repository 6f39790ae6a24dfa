// A parsed template. Immutable after resolve_scopes(), so that many renderings may walk it at once.
// Variables are resolved before rendering, exactly as Jinja compiles them to Python functions: the template, each macro
// or call block, each recursive loop and each loop filter is a *function* with numbered slots; a loop body, a filter
// block and the like is a *frame* inside a function, which on entry loads what it needs into its own slots.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace narae::jinja {

struct Filter;
struct Test;

// A variable: `hops` functions outwards, slot `slot`.
struct VariableRef {
    std::uint16_t hops = 0;
    std::uint16_t slot = 0;
};

// ---- expressions

enum class ExpressionKind : std::uint8_t {
    literal,
    name,
    tuple,
    list,
    dict,
    conditional,
    logical_not,
    logical_and,
    logical_or,
    negate,
    plus,
    arithmetic,
    concatenate,
    compare,
    attribute,
    subscript,
    slice,  // only as the index of a subscript
    call,
    filter,
    test,
};

struct Expression {
    Expression(ExpressionKind which, int at) : kind(which), line(at) {}
    virtual ~Expression() = default;
    ExpressionKind kind;
    std::uint16_t height = 1;  // expressions below it, to bound recursion
    int line;
};
using ExpressionPtr = std::unique_ptr<Expression>;

using LiteralValue = std::variant<std::monostate, bool, std::int64_t, double, std::string>;  // monostate: None

struct LiteralExpression : Expression {
    LiteralExpression(int at, LiteralValue literal) : Expression(ExpressionKind::literal, at), value(std::move(literal)) {}
    LiteralValue value;
    std::uint32_t constant = 0;  // its number, where a rendering keeps it as a Value
};

struct NameExpression : Expression {
    NameExpression(int at, std::string of) : Expression(ExpressionKind::name, at), name(std::move(of)) {}
    std::string name;
    VariableRef variable;
};

struct SequenceExpression : Expression {  // tuple, list, concatenate
    using Expression::Expression;
    std::vector<ExpressionPtr> items;
};

struct DictExpression : Expression {
    explicit DictExpression(int at) : Expression(ExpressionKind::dict, at) {}
    std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};

struct ConditionalExpression : Expression {
    explicit ConditionalExpression(int at) : Expression(ExpressionKind::conditional, at) {}
    ExpressionPtr test, then, otherwise;  // otherwise may be absent
};

struct UnaryExpression : Expression {  // logical_not, negate, plus
    using Expression::Expression;
    ExpressionPtr operand;
};

struct BinaryExpression : Expression {  // logical_and, logical_or, arithmetic
    using Expression::Expression;
    std::uint8_t operation = 0;  // an Arithmetic
    ExpressionPtr left, right;
};

enum class Comparison : std::uint8_t { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct CompareExpression : Expression {
    explicit CompareExpression(int at) : Expression(ExpressionKind::compare, at) {}
    ExpressionPtr first;
    std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};

struct AttributeExpression : Expression {
    explicit AttributeExpression(int at) : Expression(ExpressionKind::attribute, at) {}
    ExpressionPtr object;
    std::string name;
};

struct SubscriptExpression : Expression {
    explicit SubscriptExpression(int at) : Expression(ExpressionKind::subscript, at) {}
    ExpressionPtr object, index;
};

struct SliceExpression : Expression {
    explicit SliceExpression(int at) : Expression(ExpressionKind::slice, at) {}
    ExpressionPtr start, stop, step;  // each may be absent
};

struct ArgumentExpressions {
    std::vector<ExpressionPtr> positional;
    std::vector<std::pair<std::string, ExpressionPtr>> keywords;
    ExpressionPtr more_positional, more_keywords;  // *x, **x; may be absent
};

struct CallExpression : Expression {
    explicit CallExpression(int at) : Expression(ExpressionKind::call, at) {}
    ExpressionPtr callee;
    ArgumentExpressions arguments;
};

struct FilterExpression : Expression {
    explicit FilterExpression(int at) : Expression(ExpressionKind::filter, at) {}
    ExpressionPtr operand;  // absent: the text of the block around it
    std::string name;
    const Filter* filter = nullptr;  // nullptr: no such filter, which fails when it is used
    ArgumentExpressions arguments;
};

struct TestExpression : Expression {
    explicit TestExpression(int at) : Expression(ExpressionKind::test, at) {}
    ExpressionPtr operand;
    std::string name;
    const Test* test = nullptr;
    ArgumentExpressions arguments;
};

// ---- what is assigned to

struct Target {
    enum class Kind : std::uint8_t { name, attribute, tuple };
    Kind kind = Kind::name;
    int line = 0;
    std::string name;       // the variable
    std::string attribute;  // of the namespace that the variable holds
    VariableRef variable;
    std::vector<Target> items;
};

// ---- statements

enum class StatementKind : std::uint8_t {
    text,
    print,
    branch,
    loop,
    set,
    set_block,
    macro,
    call_block,
    generation,
    filter_block,
    with,
    block,
    break_loop,
    continue_loop,
    refused,
};

struct Statement {
    Statement(StatementKind which, int at) : kind(which), line(at) {}
    virtual ~Statement() = default;
    StatementKind kind;
    int line;
};
using Body = std::vector<std::unique_ptr<Statement>>;

// What a frame loads on entry into slot `slot` of its function.
struct FrameLoad {
    enum class Source : std::uint8_t { parameter, context, variable, nothing };
    Source source = Source::nothing;
    std::uint16_t slot = 0;
    VariableRef variable;  // source variable
    std::string name;      // source context
};
using Frame = std::vector<FrameLoad>;

struct TextStatement : Statement {
    TextStatement(int at, std::string content) : Statement(StatementKind::text, at), text(std::move(content)) {}
    std::string text;
};

struct PrintStatement : Statement {
    PrintStatement(int at, ExpressionPtr of) : Statement(StatementKind::print, at), value(std::move(of)) {}
    ExpressionPtr value;
};

struct BranchStatement : Statement {
    explicit BranchStatement(int at) : Statement(StatementKind::branch, at) {}
    std::vector<std::pair<ExpressionPtr, Body>> branches;  // if, elif ...
    Body otherwise;
};

struct ForStatement : Statement {
    explicit ForStatement(int at) : Statement(StatementKind::loop, at) {}
    Target target;
    ExpressionPtr iterable;
    ExpressionPtr test;  // may be absent; runs as a function of its own, with its own copy of the target
    Target test_target;
    Frame test_frame;
    std::uint16_t test_slots = 0;
    Body body, otherwise;
    Frame frame, otherwise_frame;
    bool recursive = false;       // a function of its own
    std::uint16_t own_slots = 0;  // when recursive
    std::uint16_t loop_slot = 0;
};

struct SetStatement : Statement {
    explicit SetStatement(int at) : Statement(StatementKind::set, at) {}
    Target target;
    ExpressionPtr value;
};

struct SetBlockStatement : Statement {
    explicit SetBlockStatement(int at) : Statement(StatementKind::set_block, at) {}
    Target target;
    ExpressionPtr filter;  // may be absent
    Body body;
    Frame frame;
};

struct MacroParameter {
    std::string name;
    ExpressionPtr fallback;  // may be absent
    std::uint16_t slot = 0;
};

struct MacroDefinition {
    std::string name;  // empty: a call block's body
    int line = 0;
    std::vector<MacroParameter> parameters;
    Body body;
    Frame frame;
    std::uint16_t slots = 0;
    // Where the implicit parameters go, when the body reads them.
    int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;
    bool explicit_caller = false;  // `caller` is among the parameters
};

struct MacroStatement : Statement {
    explicit MacroStatement(int at) : Statement(StatementKind::macro, at) {}
    MacroDefinition definition;
    VariableRef variable;
};

struct CallBlockStatement : Statement {  // also generation, which has no call
    using Statement::Statement;
    ExpressionPtr call;
    MacroDefinition caller;
};

struct FilterBlockStatement : Statement {
    explicit FilterBlockStatement(int at) : Statement(StatementKind::filter_block, at) {}
    ExpressionPtr filter;
    Body body;
    Frame frame;
};

struct WithStatement : Statement {
    explicit WithStatement(int at) : Statement(StatementKind::with, at) {}
    std::vector<std::pair<Target, ExpressionPtr>> bindings;
    Body body;
    Frame frame;
};

struct BlockStatement : Statement {
    explicit BlockStatement(int at) : Statement(StatementKind::block, at) {}
    std::string name;
    bool scoped = false;
    Body body;
    Frame frame;
    std::uint16_t slots = 0;
};

struct JumpStatement : Statement {  // break_loop, continue_loop
    using Statement::Statement;
};

// include, import, from, extends: Jinja accepts them, and fails when they run since there is no loader.
struct RefusedStatement : Statement {
    RefusedStatement(int at, std::string tag) : Statement(StatementKind::refused, at), name(std::move(tag)) {}
    std::string name;
    std::vector<ExpressionPtr> expressions;
    std::vector<Target> targets;  // the names that an import would set
};

struct Template {
    Body body;
    Frame frame;
    std::uint16_t slots = 0;
    std::vector<std::pair<std::string, std::uint16_t>> top_level;  // slots of the names set at the top, which blocks see
    std::vector<const LiteralExpression*> literals;
};

}  // namespace narae::jinja
