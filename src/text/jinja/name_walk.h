// Walks over the names of a tree, in the order in which Jinja's compiler visits them.
#pragma once

#include "text/jinja/ast.h"

#include <functional>
#include <string>
#include <string_view>

namespace narae::jinja {

// Calls `visit` for each direct part of an expression.
void for_each_part(Expression& expression, const std::function<void(ExpressionPtr&)>& visit);

// Calls `load` for each name that the expression reads.
void walk_names(const Expression& expression, const std::function<void(const std::string&)>& load);

// Whether the body, with the loops and macros inside it, reads `name` before it binds it. Adds the statements that it
// looks at to `steps`, and fails (BadFileError) when those are too many.
bool reads_undeclared(const Body& body, std::string_view name, std::uint64_t& steps);

}  // namespace narae::jinja
