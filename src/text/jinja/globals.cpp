// The functions that every template can call.
#include "base/clock.h"
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/unicode.h"

#include <locale.h>
#include <ctime>

namespace narae::jinja {
namespace {

Value global_range(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [first, second, third] = bind(runtime, "range", arguments, {"start", "stop", "step"}, 1, Keywords::refused);
    const std::int64_t a = to_index(runtime, first, "range");
    const std::int64_t start = second.is_missing() ? 0 : a;
    const std::int64_t stop = second.is_missing() ? a : to_index(runtime, second, "range");
    const std::int64_t step = integer_or(runtime, third, 1, "range");
    if (step == 0) runtime.fail("range() arg 3 must not be zero");
    // Unsigned differences, which cannot overflow.
    const std::uint64_t distance =
        step > 0 ? (stop > start ? static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start) : 0)
                 : (start > stop ? static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop) : 0);
    const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step) : ~static_cast<std::uint64_t>(step) + 1;
    const std::uint64_t count = distance / stride + (distance % stride != 0 ? 1 : 0);
    if (count > static_cast<std::uint64_t>(kMaxRange))
        runtime.fail("a range of {} items is longer than the limit of {}", count, kMaxRange);
    return Value(Type::range, new RangeObject(runtime, start, stop, step, static_cast<std::int64_t>(count)));
}

// What dict(...) is called with: a mapping or pairs, and keywords.
Value dict_of(Runtime& runtime, std::string_view function, CallArguments& arguments) {
    if (arguments.positional.size() > 1)
        runtime.fail("{}() takes at most one argument, {} given", function, arguments.positional.size());
    Value dict(Type::dict, new DictObject(runtime));
    auto& entries = dict.as<DictObject>();
    if (!arguments.positional.empty()) {
        const Value& from = arguments.positional[0];
        if (from.is(Type::dict)) {
            for (const auto& [key, value] : from.as<DictObject>().entries) entries.set(key, value);
        } else {
            const Value pairs = iterate(runtime, from);
            for (const Value& pair : items_of(pairs)) {
                const Value both = iterate(runtime, pair);
                if (items_of(both).size() != 2) runtime.fail("{}() needs pairs of key and value", function);
                entries.set(items_of(both)[0], items_of(both)[1]);
            }
        }
    }
    for (const auto& [name, value] : arguments.keywords) entries.set(make_string(runtime, name), value);
    return dict;
}

Value global_dict(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    return dict_of(interpreter.runtime, "dict", arguments);
}

Value global_namespace(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const Value dict = dict_of(runtime, "namespace", arguments);
    Value space(Type::space, new SpaceObject(runtime));
    for (const auto& [key, value] : dict.as<DictObject>().entries) {
        if (!key.is_string()) runtime.fail("the attributes of a namespace need strings as names, not {}", type_name(key));
        space.as<SpaceObject>().set(view_of(key), value);
    }
    return space;
}

Value global_cycler(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    if (arguments.positional.empty() || !arguments.keywords.empty())
        interpreter.runtime.fail("cycler() needs at least one item");
    return Value(Type::cycler, new CyclerObject(interpreter.runtime, std::move(arguments.positional)));
}

Value global_joiner(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [separator] = bind(runtime, "joiner", arguments, {"sep"});
    return Value(Type::joiner, new JoinerObject(runtime, separator.is_missing() ? make_string(runtime, ", ") : separator));
}

Value global_raise_exception(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [message] = bind(runtime, "raise_exception", arguments, {"message"}, 1);
    runtime.fail_with(to_text(runtime, message).text);
}

// datetime.now().strftime(format): local time without a time zone, in the C locale.
Value global_strftime_now(Interpreter& interpreter, const Value&, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [format] = bind(runtime, "strftime_now", arguments, {"format"}, 1);
    if (!format.is_string()) runtime.fail("strftime_now() needs a string, not {}", type_name(format));
    const std::string_view text = view_of(format);
    if (text.size() > 1000) runtime.fail("strftime_now() got a format of {} bytes, more than the limit of 1000", text.size());
    // Python itself answers these: there are no fractions of a second and no time zone.
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char next = text[i] == '%' && i + 1 < text.size() ? text[i + 1] : '\0';
        if (next == 'f') {
            plain += "000000";
        } else if (next == '%') {
            plain += "%%";
        } else if (next != 'z' && next != 'Z') {
            plain.push_back(text[i]);
            continue;
        }
        ++i;
    }
    const std::time_t now = wall_clock();
    std::tm local{};
    localtime_r(&now, &local);
    static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);
    std::string buffer(16 * plain.size() + 256, '\0');
    const std::size_t size = plain.empty() ? 0 : strftime_l(buffer.data(), buffer.size(), plain.c_str(), &local, c_locale);
    buffer.resize(size);
    if (!unicode::is_valid(buffer)) runtime.fail("strftime_now() got a format that gives no valid text");
    return make_string(runtime, buffer, is_trusted(text_of(format)));
}

Value global_lipsum(Interpreter& interpreter, const Value&, CallArguments&) {
    interpreter.runtime.fail("lipsum() is not supported: a prompt must not depend on chance");
}

constexpr Method kGlobals[] = {
    {"raise_exception", global_raise_exception},
    {"strftime_now", global_strftime_now},
    {"namespace", global_namespace},
    {"range", global_range},
    {"dict", global_dict},
    {"cycler", global_cycler},
    {"joiner", global_joiner},
    {"lipsum", global_lipsum},
};

}  // namespace

Value find_global(Runtime& runtime, std::string_view name) {
    for (const Method& global : kGlobals)
        if (global.name == name) return make_function(runtime, global.name, global.function);
    return Value();
}

}  // namespace narae::jinja
