#include "text/jinja/methods.h"

#include "text/jinja/arguments.h"
#include "text/jinja/ast.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operations.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace narae::jinja {
namespace {

// ---- dict

Value view_of_dict(Interpreter& interpreter, const Value& self, CallArguments& arguments, ViewObject::Kind kind) {
    bind_none(interpreter.runtime, "this method of dict", arguments);
    return Value(Type::view, new ViewObject(interpreter.runtime, self, kind));
}

Value method_keys(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    return view_of_dict(interpreter, self, arguments, ViewObject::Kind::keys);
}

Value method_values(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    return view_of_dict(interpreter, self, arguments, ViewObject::Kind::values);
}

Value method_items(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    return view_of_dict(interpreter, self, arguments, ViewObject::Kind::items);
}

Value method_get(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [key, fallback] = bind(runtime, "get", arguments, {"key", "default"}, 1, Keywords::refused);
    if (!is_hashable(runtime, key)) runtime.fail("unhashable type: '{}'", type_name(key));
    if (const Value* found = self.as<DictObject>().find(key); found != nullptr) return *found;
    return fallback.is_missing() ? Value::none() : fallback;
}

Value method_copy(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "copy", arguments);
    return self;
}

constexpr Method kDictMethods[] = {
    {"get", method_get}, {"items", method_items}, {"keys", method_keys}, {"values", method_values}, {"copy", method_copy},
};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};

// ---- list, tuple, range

Value method_index(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [needle, start, stop] = bind(runtime, "index", arguments, {"value", "start", "stop"}, 1, Keywords::refused);
    const Value list = iterate(runtime, self);
    const auto& items = items_of(list);
    const auto size = static_cast<std::int64_t>(items.size());
    const auto bound = [&](const Value& value, std::int64_t otherwise) {
        std::int64_t index = integer_or(runtime, value, otherwise, "a position");
        if (index < 0) index = std::max<std::int64_t>(index + size, 0);
        return std::min(index, size);
    };
    for (std::int64_t i = bound(start, 0), end = bound(stop, size); i < end; ++i)
        if (equals(runtime, items[static_cast<std::size_t>(i)], needle)) return Value::integer(i);
    runtime.fail("{} is not in the {}", to_repr(runtime, needle).text, type_name(self));
}

Value method_count(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [needle] = bind(runtime, "count", arguments, {"value"}, 1, Keywords::refused);
    const Value list = iterate(runtime, self);
    std::int64_t count = 0;
    for (const Value& item : items_of(list)) count += equals(runtime, item, needle) ? 1 : 0;
    return Value::integer(count);
}

constexpr Method kListMethods[] = {{"index", method_index}, {"count", method_count}, {"copy", method_copy}};
constexpr Method kTupleMethods[] = {{"index", method_index}, {"count", method_count}};

Value method_is_integer(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "is_integer", arguments);
    return Value::boolean(self.as_real() == std::floor(self.as_real()) && std::isfinite(self.as_real()));
}

constexpr Method kRealMethods[] = {{"is_integer", method_is_integer}};

// ---- cycler

Value method_next(Interpreter&, const Value& self, CallArguments&) {
    auto& cycler = self.as<CyclerObject>();
    Value current = cycler.items[cycler.position];
    cycler.position = (cycler.position + 1) % cycler.items.size();
    return current;
}

Value method_reset(Interpreter&, const Value& self, CallArguments&) {
    self.as<CyclerObject>().position = 0;
    return Value::none();
}

constexpr Method kCyclerMethods[] = {{"next", method_next}, {"reset", method_reset}};

// ---- loop

Value method_cycle(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    if (arguments.positional.empty() || !arguments.keywords.empty())
        interpreter.runtime.fail("loop.cycle() needs items to cycle through");
    return arguments.positional[self.as<LoopObject>().index0 % arguments.positional.size()];
}

Value method_changed(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    auto& loop = self.as<LoopObject>();
    const Value values = make_tuple(interpreter.runtime, arguments.positional);
    if (!loop.last_changed.is_missing() && equals(interpreter.runtime, loop.last_changed, values)) return Value::boolean(false);
    loop.last_changed = values;
    return Value::boolean(true);
}

constexpr Method kLoopMethods[] = {{"cycle", method_cycle}, {"changed", method_changed}};

std::span<const Method> methods_of(Type type) {
    switch (type) {
        case Type::string:
            return string_methods();
        case Type::dict:
            return kDictMethods;
        case Type::list:
            return kListMethods;
        case Type::tuple:
        case Type::range:
            return kTupleMethods;
        case Type::real:
            return kRealMethods;
        case Type::cycler:
            return kCyclerMethods;
        case Type::loop:
            return kLoopMethods;
        default:
            return {};
    }
}

bool changes(const Value& value, std::string_view name) {
    const auto among = [&](const auto& names) {
        return std::find(std::begin(names), std::end(names), name) != std::end(names);
    };
    return (value.is(Type::dict) && among(kDictChanges)) || (value.is(Type::list) && among(kListChanges));
}

}  // namespace

Value find_method(Runtime& runtime, const Value& value, std::string_view name) {
    for (const Method& method : methods_of(value.type()))
        if (method.name == name) return make_function(runtime, method.name, method.function, value);
    if (changes(value, name))
        return make_undefined(runtime,
                              fmt::format("'{}' of a {} is forbidden: a template may not change it", name, type_name(value)));
    return Value();
}

Value loop_attribute(Runtime& runtime, const Value& value, std::string_view name) {
    auto& loop = value.as<LoopObject>();
    const auto number = [](std::size_t count) { return Value::integer(static_cast<std::int64_t>(count)); };
    if (name == "index") return number(loop.index0 + 1);
    if (name == "index0") return number(loop.index0);
    if (name == "first") return Value::boolean(loop.index0 == 0);
    if (name == "last") return Value::boolean(!loop.has(loop.index0 + 1));
    if (name == "length") return number(loop.length());
    if (name == "revindex") return number(loop.length() - loop.index0);
    if (name == "revindex0") return number(loop.length() - loop.index0 - 1);
    if (name == "depth") return number(loop.depth0 + 1);
    if (name == "depth0") return number(loop.depth0);
    if (name == "previtem")
        return loop.index0 == 0 ? make_undefined(runtime, "there is no previous item") : loop.item(loop.index0 - 1);
    if (name == "nextitem")
        return loop.has(loop.index0 + 1) ? loop.item(loop.index0 + 1) : make_undefined(runtime, "there is no next item");
    return Value();
}

Value macro_attribute(Runtime& runtime, const Value& value, std::string_view name) {
    const MacroDefinition& macro = value.as<MacroObject>().definition;
    if (name == "name") return macro.name.empty() ? Value::none() : make_string(runtime, macro.name);
    if (name == "caller") return Value::boolean(macro.caller_slot >= 0 || macro.explicit_caller);
    if (name == "catch_kwargs") return Value::boolean(macro.kwargs_slot >= 0);
    if (name == "catch_varargs") return Value::boolean(macro.varargs_slot >= 0);
    if (name != "arguments") return Value();
    std::vector<Value> names;
    for (const MacroParameter& parameter : macro.parameters) names.push_back(make_string(runtime, parameter.name));
    return make_tuple(runtime, std::move(names));
}

}  // namespace narae::jinja
