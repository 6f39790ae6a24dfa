#include "text/jinja/parser.h"

#include "base/error.h"
#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <initializer_list>
#include <set>

namespace narae::jinja {
namespace {

class Parser : public ExpressionParser {
public:
    using ExpressionParser::ExpressionParser;

    Body parse_template() { return parse_body({}); }

private:
    // Up to one of the closing tags, whose name is the current token then. None: up to the template's end.
    Body parse_body(std::initializer_list<std::string_view> closing) {
        const Nesting nesting(*this);
        Body body;
        while (true) {
            const Token& token = current();
            switch (token.kind) {
                case TokenKind::end:
                    if (closing.size() != 0) fail(fmt::format("unexpected end of template, need '{}'", *(closing.end() - 1)));
                    return body;
                case TokenKind::text:
                    body.push_back(std::make_unique<TextStatement>(token.line, token.text));
                    next();
                    break;
                case TokenKind::print_begin: {
                    next();
                    const int line = token.line;
                    ExpressionPtr value = parse_tuple();
                    expect(TokenKind::print_end, "}}");
                    body.push_back(std::make_unique<PrintStatement>(line, std::move(value)));
                    break;
                }
                case TokenKind::block_begin:
                    next();
                    if (current().kind == TokenKind::name &&
                        std::find(closing.begin(), closing.end(), current().text) != closing.end())
                        return body;
                    body.push_back(parse_statement());
                    expect(TokenKind::block_end, "%}");
                    break;
                default:
                    fail("unexpected token");
            }
        }
    }

    // "%} body {% closing": leaves the closing name current.
    Body parse_until(std::initializer_list<std::string_view> closing) {
        take_symbol(":");
        expect(TokenKind::block_end, "%}");
        return parse_body(closing);
    }

    Body parse_block_body(std::string_view closing) {
        Body body = parse_until({closing});
        next();
        return body;
    }

    std::unique_ptr<Statement> parse_statement() {
        if (current().kind != TokenKind::name) fail("a tag name is missing");
        const std::string tag = current().text;
        const int line = current().line;
        next();
        if (tag == "if") return parse_if(line);
        if (tag == "for") return parse_for(line);
        if (tag == "set") return parse_set(line);
        if (tag == "macro") return parse_macro(line);
        if (tag == "call") return parse_call_block(line);
        if (tag == "filter") return parse_filter_block(line);
        if (tag == "with") return parse_with(line);
        if (tag == "block") return parse_block(line);
        if (tag == "generation") {
            auto statement = std::make_unique<CallBlockStatement>(StatementKind::generation, line);
            statement->caller.line = line;
            statement->caller.body = parse_macro_body("endgeneration");
            return statement;
        }
        if ((tag == "break" || tag == "continue") && loops_ == 0)
            syntax_error(line, fmt::format("'{}' outside of a loop", tag));
        if (tag == "break" || tag == "continue")
            return std::make_unique<JumpStatement>(tag == "break" ? StatementKind::break_loop : StatementKind::continue_loop,
                                                   line);
        if (tag == "print") return parse_print(line);
        if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") return parse_refused(tag, line);
        if (tag == "autoescape") syntax_error(line, "the tag 'autoescape' is not supported");
        syntax_error(line, fmt::format("unknown tag '{}'", tag));
    }

    std::unique_ptr<Statement> parse_if(int line) {
        auto statement = std::make_unique<BranchStatement>(line);
        while (true) {
            ExpressionPtr test = parse_tuple({.conditional = false});
            Body body = parse_until({"elif", "else", "endif"});
            statement->branches.emplace_back(std::move(test), std::move(body));
            const std::string tag = current().text;
            next();
            if (tag == "elif") continue;
            if (tag == "else") statement->otherwise = parse_block_body("endif");
            return statement;
        }
    }

    std::unique_ptr<Statement> parse_for(int line) {
        auto statement = std::make_unique<ForStatement>(line);
        statement->target = parse_target({.end_name = "in"});
        expect_name("in");
        statement->iterable = parse_tuple({.conditional = false, .end_name = "recursive"});
        if (take_name("if")) statement->test = parse_expression();
        statement->recursive = take_name("recursive");
        ++loops_;
        statement->body = parse_until({"else", "endfor"});
        --loops_;
        const bool otherwise = current().text == "else";
        next();
        if (otherwise) statement->otherwise = parse_block_body("endfor");
        return statement;
    }

    std::unique_ptr<Statement> parse_set(int line) {
        Target target = parse_target({.attributes = true});
        if (take_symbol("=")) {
            auto statement = std::make_unique<SetStatement>(line);
            statement->target = std::move(target);
            statement->value = parse_tuple();
            return statement;
        }
        auto statement = std::make_unique<SetBlockStatement>(line);
        statement->target = std::move(target);
        statement->filter = parse_filters(nullptr);
        statement->body = parse_block_body("endset");
        return statement;
    }

    void parse_signature(MacroDefinition& definition) {
        expect_symbol("(");
        while (!at_symbol(")")) {
            if (!definition.parameters.empty()) expect_symbol(",");
            MacroParameter parameter;
            parameter.name = parse_assignable_name();
            if (take_symbol("=")) {
                parameter.fallback = parse_expression();
            } else if (!definition.parameters.empty() && definition.parameters.back().fallback != nullptr) {
                fail(fmt::format("the parameter '{}' has no default but follows one that has", parameter.name));
            }
            if (definition.parameters.size() == kMaxArguments) fail(fmt::format("more than {} parameters", kMaxArguments));
            for (const MacroParameter& other : definition.parameters)
                if (other.name == parameter.name) fail(fmt::format("the parameter '{}' is there twice", parameter.name));
            definition.parameters.push_back(std::move(parameter));
        }
        next();
    }

    Body parse_macro_body(std::string_view closing) {
        const int loops = std::exchange(loops_, 0);
        Body body = parse_block_body(closing);
        loops_ = loops;
        return body;
    }

    std::unique_ptr<Statement> parse_macro(int line) {
        auto statement = std::make_unique<MacroStatement>(line);
        statement->definition.line = line;
        statement->definition.name = parse_assignable_name();
        parse_signature(statement->definition);
        statement->definition.body = parse_macro_body("endmacro");
        return statement;
    }

    std::unique_ptr<Statement> parse_call_block(int line) {
        auto statement = std::make_unique<CallBlockStatement>(StatementKind::call_block, line);
        statement->caller.line = line;
        if (at_symbol("(")) parse_signature(statement->caller);
        statement->call = parse_expression();
        if (statement->call->kind != ExpressionKind::call) syntax_error(line, "a call block needs a call");
        statement->caller.body = parse_macro_body("endcall");
        return statement;
    }

    std::unique_ptr<Statement> parse_filter_block(int line) {
        auto statement = std::make_unique<FilterBlockStatement>(line);
        statement->filter = parse_filters(parse_filter(nullptr));
        statement->body = parse_block_body("endfilter");
        return statement;
    }

    std::unique_ptr<Statement> parse_with(int line) {
        auto statement = std::make_unique<WithStatement>(line);
        while (current().kind != TokenKind::block_end) {
            if (!statement->bindings.empty()) expect_symbol(",");
            Target target = parse_target({});
            expect_symbol("=");
            ExpressionPtr value = parse_expression();
            statement->bindings.emplace_back(std::move(target), std::move(value));
        }
        statement->body = parse_block_body("endwith");
        return statement;
    }

    std::unique_ptr<Statement> parse_block(int line) {
        auto statement = std::make_unique<BlockStatement>(line);
        statement->name = expect(TokenKind::name, "a name").text;
        if (!blocks_.insert(statement->name).second)
            syntax_error(line, fmt::format("the block '{}' is there twice", statement->name));
        statement->scoped = take_name("scoped");
        if (take_name("required")) syntax_error(line, fmt::format("the required block '{}' is not supported", statement->name));
        statement->body = parse_macro_body("endblock");
        take_name(statement->name);
        return statement;
    }

    // print a, b: as {{ a }}{{ b }}, together in a branch without conditions.
    std::unique_ptr<Statement> parse_print(int line) {
        auto statement = std::make_unique<BranchStatement>(line);
        while (current().kind != TokenKind::block_end) {
            if (!statement->otherwise.empty()) expect_symbol(",");
            statement->otherwise.push_back(std::make_unique<PrintStatement>(current().line, parse_expression()));
        }
        return statement;
    }

    bool parse_import_context() {
        if (current().kind != TokenKind::name || (current().text != "with" && current().text != "without") ||
            !next_is_name("context"))
            return false;
        next();
        next();
        return true;
    }

    std::unique_ptr<Statement> parse_refused(const std::string& tag, int line) {
        auto statement = std::make_unique<RefusedStatement>(line, tag);
        statement->expressions.push_back(parse_expression());
        const auto add_target = [&] {
            Target target;
            target.line = current().line;
            target.name = parse_assignable_name();
            statement->targets.push_back(std::move(target));
        };
        if (tag == "include") {
            if (current().kind == TokenKind::name && current().text == "ignore" && next_is_name("missing")) {
                next();
                next();
            }
            parse_import_context();
        } else if (tag == "import") {
            expect_name("as");
            add_target();
            parse_import_context();
        } else if (tag == "from") {
            expect_name("import");
            while (true) {
                if (!statement->targets.empty() && !take_symbol(",")) break;
                if (parse_import_context()) break;
                add_target();
                if (take_name("as")) {
                    statement->targets.pop_back();
                    add_target();
                }
                if (parse_import_context() || current().kind == TokenKind::block_end) break;
            }
        }
        return statement;
    }

    int loops_ = 0;
    std::set<std::string> blocks_;
};

}  // namespace

Template parse(std::string_view source, const Options& options) {
    Template result;
    result.body = Parser(tokenize(source, options), result.literals).parse_template();
    return result;
}

}  // namespace narae::jinja
