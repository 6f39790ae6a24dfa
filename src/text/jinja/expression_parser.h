// The expression half of the parser, and the token stream that both halves read.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"
#include "text/jinja/limits.h"

#include <string>
#include <string_view>
#include <vector>

namespace narae::jinja {

class ExpressionParser {
public:
    // Literals are numbered and listed in `literals`.
    ExpressionParser(std::vector<Token> tokens, std::vector<const LiteralExpression*>& literals)
        : tokens_(std::move(tokens)), literals_(literals) {}

protected:
    struct TupleRules {
        bool conditional = true;         // a if b else c may follow
        std::string_view end_name = {};  // a name that ends the tuple
        bool parenthesized = false;      // () is an empty tuple
        bool simple = false;             // only names and literals: what is assigned to
        bool attributes = false;         // a.b among them, for namespaces
    };

    // One more level while it lives; too many fail.
    class Nesting {
    public:
        explicit Nesting(ExpressionParser& parser) : parser_(parser) {
            if (++parser_.nesting_ > kMaxNesting) parser_.fail("nested too deeply");
        }
        ~Nesting() { --parser_.nesting_; }
        Nesting(const Nesting&) = delete;
        Nesting& operator=(const Nesting&) = delete;

    private:
        ExpressionParser& parser_;
    };

    ExpressionPtr parse_expression(bool conditional = true);
    ExpressionPtr parse_tuple() { return parse_tuple(TupleRules{}); }
    ExpressionPtr parse_tuple(const TupleRules& rules);
    // "| a | b": the chain around `operand`, which may be absent.
    ExpressionPtr parse_filters(ExpressionPtr operand);
    ExpressionPtr parse_filter(ExpressionPtr operand);  // one, from its name on
    Target parse_target(TupleRules rules);
    std::string parse_assignable_name();

    // ---- the token stream
    const Token& current() const { return tokens_[at_]; }
    const Token& next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
    bool next_is_name(std::string_view name) const;
    bool at_symbol(std::string_view symbol) const { return current().kind == TokenKind::symbol && current().text == symbol; }
    bool at_name(std::string_view name) const { return current().kind == TokenKind::name && current().text == name; }
    bool take_symbol(std::string_view symbol);
    bool take_name(std::string_view name);
    void expect_symbol(std::string_view symbol);
    void expect_name(std::string_view name);
    const Token& expect(TokenKind kind, std::string_view what);
    std::string found() const;  // the current token, for messages
    [[noreturn]] void fail(const std::string& message) const { syntax_error(current().line, message); }

private:
    ExpressionPtr parse_conditional();
    ExpressionPtr parse_or();
    ExpressionPtr parse_and();
    ExpressionPtr parse_not();
    ExpressionPtr parse_compare();
    ExpressionPtr parse_sum();
    ExpressionPtr parse_concatenation();
    ExpressionPtr parse_product();
    ExpressionPtr parse_power();
    ExpressionPtr parse_unary(bool filters = true);
    ExpressionPtr parse_primary(bool attributes = false);
    ExpressionPtr parse_list();
    ExpressionPtr parse_dict();
    ExpressionPtr parse_postfix(ExpressionPtr expression);
    ExpressionPtr parse_filter_expression(ExpressionPtr expression);
    ExpressionPtr parse_subscript(ExpressionPtr object);
    ExpressionPtr parse_subscript_item();
    ExpressionPtr parse_call(ExpressionPtr callee);
    ArgumentExpressions parse_arguments();
    ExpressionPtr parse_test(ExpressionPtr operand);
    ExpressionPtr make_literal(int line, LiteralValue value);
    ExpressionPtr make_binary(ExpressionKind kind, int operation, ExpressionPtr left, ExpressionPtr right);
    // Sets the height over its parts, and refuses too high expressions.
    template <class... Parts>
    void raise(Expression& expression, const Parts&... parts) const;
    void raise_over(Expression& expression, const Expression* part) const;
    void raise_over(Expression& expression, const ArgumentExpressions& arguments) const;
    Target target_of(const Expression& expression) const;

    std::vector<Token> tokens_;
    std::vector<const LiteralExpression*>& literals_;
    std::size_t at_ = 0;
    int nesting_ = 0;
};

}  // namespace narae::jinja
