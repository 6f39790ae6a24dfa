// Renders a parsed template. One Interpreter renders once, on one thread.
// Refused although Python renders it: integers over 64 bits, what prints a memory address (functions, generators), what
// depends on chance (random, lipsum), the filters pprint, striptags, urlize, wordwrap and xmlattr, autoescape, and a few
// methods of str (encode, translate, casefold, expandtabs, isnumeric). Jinja folds constant expressions while it
// compiles, which turns a slice of a constant that is not a sequence into undefined; here that fails.
// Other text than Python's: `self` and attributes of numbers are undefined, and so is a loop's variable for a macro that
// outlives the loop (Jinja prints its internal marker).
#pragma once

#include "base/json.h"
#include "text/jinja/ast.h"
#include "text/jinja/operations.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace narae::jinja {

class Interpreter {
public:
    // The variables of the request, and those that the template's side gives (special tokens), which are trusted and
    // which the request's shadow. All three are only referred to.
    Interpreter(const Template& parsed, const Json& variables, const Json& trusted_variables);
    ~Interpreter();
    Interpreter(const Interpreter&) = delete;
    Interpreter& operator=(const Interpreter&) = delete;

    // UsageError with the template's line for everything that goes wrong.
    TaggedText render();

    // For filters and functions.
    Value call(const Value& callee, CallArguments& arguments);
    Value apply_filter(std::string_view name, const Value& operand, CallArguments& arguments);
    bool apply_test(std::string_view name, const Value& operand, CallArguments& arguments);
    // Whether a loop's inline if lets the item pass.
    bool passes(LoopObject& loop, const Value& item);

    Runtime runtime;

private:
    enum class Flow { normal, break_loop, continue_loop };

    Value evaluate(const Expression& expression, EnvironmentObject& environment);
    Value evaluate_compare(const CompareExpression& expression, EnvironmentObject& environment);
    Value evaluate_subscript(const SubscriptExpression& expression, EnvironmentObject& environment);
    Value evaluate_call(const CallExpression& expression, EnvironmentObject& environment, const Value& caller);
    Value evaluate_filter(const FilterExpression& expression, EnvironmentObject& environment, const Value* block);
    Value evaluate_test(const TestExpression& expression, EnvironmentObject& environment);
    CallArguments evaluate_arguments(const ArgumentExpressions& arguments, EnvironmentObject& environment);
    std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions, EnvironmentObject& environment);
    Value& constant(const LiteralExpression& literal);

    Flow execute(const Body& body, EnvironmentObject& environment, TextBuilder& output);
    Flow execute(const Statement& statement, EnvironmentObject& environment, TextBuilder& output);
    void print(const Value& value, TextBuilder& output);
    void write_block(const Value& value, TextBuilder& output);  // what a call or filter block gives, which must be text
    Flow execute_branch(const BranchStatement& branch, EnvironmentObject& environment, TextBuilder& output);
    Flow execute_for(const ForStatement& loop, EnvironmentObject& environment, TextBuilder& output);
    // The loop in the environment of its body; the loop's own is the one around it.
    Flow run_loop(const Value& loop, EnvironmentObject& environment, TextBuilder& output);
    Value call_loop(const ForStatement& statement, const Value& iterable, const Value& outer, std::size_t depth);
    void execute_call_block(const CallBlockStatement& block, EnvironmentObject& environment, TextBuilder& output);
    Flow execute_set_block(const SetBlockStatement& block, EnvironmentObject& environment);
    Flow execute_filter_block(const FilterBlockStatement& block, EnvironmentObject& environment, TextBuilder& output);
    void execute_block(const BlockStatement& block, EnvironmentObject& environment, TextBuilder& output);
    Value call_macro(const Value& macro, CallArguments& arguments);

    void enter(const Frame& frame, EnvironmentObject& environment);
    void enter_block(const Frame& frame, EnvironmentObject& environment);
    void leave(const Frame& frame, EnvironmentObject& environment);
    Value& variable(const VariableRef& reference, EnvironmentObject& environment);
    void assign(const Target& target, const Value& value, EnvironmentObject& environment);
    void require_namespaces(const Target& target, EnvironmentObject& environment);
    // A name of the request, of the template's side, or a global; missing when there is none.
    Value resolve(const std::string& name);
    Value new_environment(const Value& outer, std::size_t slots);

    const Template& template_;
    const Json& variables_;
    const Json& trusted_variables_;
    std::unordered_map<std::string, Value> resolved_;
    std::vector<Value> constants_;
    Value root_;
};

}  // namespace narae::jinja
