// The methods and attributes that Python's built-in types have, as far as a sandboxed template may use them.
#pragma once

#include "text/jinja/value.h"

#include <span>
#include <string_view>

namespace narae::jinja {

struct Method {
    std::string_view name;
    Function function;
};

// The method bound to the value; an undefined that fails when used, for one that changes a list or dict, which the
// sandbox forbids; missing when there is none.
Value find_method(Runtime& runtime, const Value& value, std::string_view name);
Value loop_attribute(Runtime& runtime, const Value& loop, std::string_view name);
Value macro_attribute(Runtime& runtime, const Value& macro, std::string_view name);

std::span<const Method> string_methods();

}  // namespace narae::jinja
