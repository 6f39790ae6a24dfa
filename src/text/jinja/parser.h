// Tokens to the tree of statements and expressions, with Jinja's grammar and the extensions that transformers enables
// (break, continue, generation). Nesting and chains are bounded.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

#include <string_view>

namespace narae::jinja {

// BadFileError with the line: bad syntax, an unknown tag, too deep nesting. Variables are not resolved yet.
Template parse(std::string_view source, const Options& options);

}  // namespace narae::jinja
