// Resolves every variable of a parsed template to a slot, with the rules of Jinja's compiler (its idtracking module):
// which names a loop body or macro keeps to itself, which it shares with what is around it, and which are looked up in
// the request's variables and when. Also binds filters and tests to their code.
#pragma once

#include "text/jinja/ast.h"

namespace narae::jinja {

// BadFileError with the line: an unknown filter or test that is not behind a condition, an assignment to `loop`.
void resolve_scopes(Template& parsed);

}  // namespace narae::jinja
