// Binding the arguments of a call to named parameters, as Python does for built-in functions.
#pragma once

#include "text/jinja/operations.h"
#include "text/jinja/value.h"

#include <array>
#include <initializer_list>
#include <string_view>

namespace narae::jinja {

enum class Keywords { allowed, refused };

// Puts the arguments in the order of `names`; those not given are missing. Fails when there are too many, an unknown
// keyword, one given twice, or fewer than `required`.
template <std::size_t N>
std::array<Value, N> bind(Runtime& runtime, std::string_view function, CallArguments& arguments,
                          const std::string_view (&names)[N], std::size_t required = 0, Keywords keywords = Keywords::allowed) {
    std::array<Value, N> bound;
    if (arguments.positional.size() > N)
        runtime.fail("{}() takes at most {} arguments, {} given", function, N, arguments.positional.size());
    for (std::size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = std::move(arguments.positional[i]);
    for (auto& [name, value] : arguments.keywords) {
        std::size_t i = 0;
        while (i < N && (keywords == Keywords::refused || names[i] != name)) ++i;
        if (i == N) runtime.fail("{}() takes no keyword argument '{}'", function, name);
        if (!bound[i].is_missing()) runtime.fail("{}() got several values for the argument '{}'", function, name);
        bound[i] = std::move(value);
    }
    for (std::size_t i = 0; i < required; ++i)
        if (bound[i].is_missing()) runtime.fail("{}() needs the argument '{}'", function, names[i]);
    return bound;
}

inline void bind_none(Runtime& runtime, std::string_view function, const CallArguments& arguments) {
    if (!arguments.positional.empty() || !arguments.keywords.empty()) runtime.fail("{}() takes no arguments", function);
}

// What a parameter has when it was not given.
inline std::int64_t integer_or(Runtime& runtime, const Value& value, std::int64_t otherwise, std::string_view what) {
    return value.is_missing() ? otherwise : to_index(runtime, value, what);
}
inline bool truth_or(const Value& value, bool otherwise) { return value.is_missing() ? otherwise : truth(value); }

}  // namespace narae::jinja
