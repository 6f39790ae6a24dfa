// Filters over lists, dicts and other collections.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>

namespace narae::jinja {

Value attribute_path(Runtime& runtime, const Value& item, const Value& path, const Value& fallback) {
    if (path.is_missing() || path.is_none()) return item;
    Value value = item;
    const auto step = [&](const Value& key) {
        value = get_item(runtime, value, key);
        if (value.is_undefined() && !fallback.is_missing() && !fallback.is_none()) value = fallback;
    };
    if (!path.is_string()) {
        step(path);
        return value;
    }
    const std::string_view text = view_of(path);
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('.', begin), text.size());
        const std::string_view key = text.substr(begin, end - begin);
        std::int64_t index = 0;
        const bool digits = !key.empty() && key.find_first_not_of("0123456789") == std::string_view::npos;
        if (digits && std::from_chars(key.data(), key.data() + key.size(), index).ec == std::errc()) {
            step(Value::integer(index));
        } else {
            step(make_string(runtime, part(text_of(path), begin, end)));
        }
        begin = end + 1;
    }
    return value;
}

namespace {

Value generator(Runtime& runtime, std::function<std::vector<Value>()> produce) {
    return make_generator(runtime, "generator", std::move(produce));
}

Value compared(Runtime& runtime, const Value& value, const Value& case_sensitive) {
    return truth_or(case_sensitive, false) ? value : without_case(runtime, value);
}

Value filter_length(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "length", arguments);
    return Value::integer(length(interpreter.runtime, operand));
}

Value filter_list(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "list", arguments);
    const Value items = iterate(interpreter.runtime, operand);
    return items.is(Type::list) ? items : make_list(interpreter.runtime, items_of(items));
}

Value filter_first(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "first", arguments);
    const Value items = iterate(runtime, operand);
    if (items_of(items).empty()) return make_undefined(runtime, "no first item, the sequence was empty");
    if (operand.is(Type::generator)) {  // only one is taken
        auto& from = operand.as<GeneratorObject>();
        from.position = from.items.size() - items_of(items).size() + 1;
    }
    return items_of(items).front();
}

Value filter_last(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "last", arguments);
    if (operand.is(Type::generator)) runtime.fail("'generator' object is not reversible; put |list before |last");
    const Value items = iterate(runtime, operand);
    if (items_of(items).empty()) return make_undefined(runtime, "no last item, the sequence was empty");
    return items_of(items).back();
}

Value filter_reverse(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "reverse", arguments);
    if (operand.is_string()) return slice(runtime, operand, Value(), Value(), Value::integer(-1));
    const Value list = iterate(runtime, operand);
    std::vector<Value> items(items_of(list).rbegin(), items_of(list).rend());
    if (operand.is(Type::generator)) return make_list(runtime, std::move(items));
    const Value reversed = make_list(runtime, std::move(items));
    return make_generator(runtime, "reversed", [reversed] { return items_of(reversed); });
}

Value filter_items(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "items", arguments);
    return generator(runtime, [&runtime, operand]() -> std::vector<Value> {
        if (operand.is_undefined()) return {};
        if (!operand.is(Type::dict)) runtime.fail("can only get item pairs from a mapping, not from {}", type_name(operand));
        return items_of(iterate(runtime, Value(Type::view, new ViewObject(runtime, operand, ViewObject::Kind::items))));
    });
}

Value filter_dictsort(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [case_sensitive, by, reverse] = bind(runtime, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
    const bool by_value = by.is_string() && view_of(by) == "value";
    if (!by.is_missing() && !by_value && !(by.is_string() && view_of(by) == "key"))
        runtime.fail("dictsort can only sort by \"key\" or \"value\"");
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!operand.is(Type::dict)) runtime.fail("dictsort needs a dict, not {}", type_name(operand));
    std::vector<Value> items, keys;
    for (const auto& [key, value] : operand.as<DictObject>().entries) {
        items.push_back(make_tuple(runtime, {key, value}));
        keys.push_back(compared(runtime, by_value ? value : key, case_sensitive));
    }
    return make_list(runtime, sorted(runtime, items, keys, truth_or(reverse, false)));
}

// The values of "a,b.c" of an item, as a list, so that they compare one after the other.
Value sort_key(Runtime& runtime, const Value& item, const Value& attribute, const Value& case_sensitive) {
    std::vector<Value> keys;
    if (!attribute.is_string()) {
        keys.push_back(compared(runtime, attribute_path(runtime, item, attribute, Value()), case_sensitive));
    } else {
        const std::string_view text = view_of(attribute);
        for (std::size_t begin = 0; begin <= text.size();) {
            const std::size_t end = std::min(text.find(',', begin), text.size());
            const Value path = make_string(runtime, part(text_of(attribute), begin, end));
            keys.push_back(compared(runtime, attribute_path(runtime, item, path, Value()), case_sensitive));
            begin = end + 1;
        }
    }
    return make_list(runtime, std::move(keys));
}

Value filter_sort(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [reverse, case_sensitive, attribute] =
        bind(runtime, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
    const Value list = iterate(runtime, operand);
    std::vector<Value> keys;
    for (const Value& item : items_of(list)) keys.push_back(sort_key(runtime, item, attribute, case_sensitive));
    return make_list(runtime, sorted(runtime, items_of(list), keys, truth_or(reverse, false)));
}

Value filter_unique(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [case_sensitive, attribute] = bind(runtime, "unique", arguments, {"case_sensitive", "attribute"});
    return generator(runtime, [&runtime, operand, case_sensitive = case_sensitive, attribute = attribute] {
        const Value list = iterate(runtime, operand);
        const Value seen(Type::dict, new DictObject(runtime));
        std::vector<Value> items;
        for (const Value& item : items_of(list)) {
            const Value key = compared(runtime, attribute_path(runtime, item, attribute, Value()), case_sensitive);
            if (!is_hashable(runtime, key)) runtime.fail("unhashable type: '{}'", type_name(key));
            if (seen.as<DictObject>().find(key) != nullptr) continue;
            seen.as<DictObject>().set(key, Value::none());
            items.push_back(item);
        }
        return items;
    });
}

template <bool kMax>
Value filter_extreme(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [case_sensitive, attribute] = bind(runtime, kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
    const Value list = iterate(runtime, operand);
    if (items_of(list).empty()) return make_undefined(runtime, "no aggregated item, the sequence was empty");
    Value best, best_key;
    for (const Value& item : items_of(list)) {
        Value key = compared(runtime, attribute_path(runtime, item, attribute, Value()), case_sensitive);
        if (!best.is_missing() && !(kMax ? order(runtime, key, best_key) > 0 : order(runtime, key, best_key) < 0)) continue;
        best = item;
        best_key = std::move(key);
    }
    return best;
}

Value filter_sum(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [attribute, start] = bind(runtime, "sum", arguments, {"attribute", "start"});
    Value total = start.is_missing() ? Value::integer(0) : start;
    if (total.is_string()) runtime.fail("sum() can't sum strings; use |join");
    const Value list = iterate(runtime, operand);
    for (const Value& item : items_of(list))
        total = arithmetic(runtime, Arithmetic::add, total, attribute_path(runtime, item, attribute, Value()));
    return total;
}

Value filter_map(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    return generator(runtime, [&interpreter, &runtime, operand, arguments]() mutable -> std::vector<Value> {
        if (!truth(operand)) return {};
        std::vector<Value> items;
        Value attribute;
        if (arguments.positional.empty()) attribute = arguments.take_keyword("attribute");
        if (!attribute.is_missing()) {
            const Value fallback = arguments.take_keyword("default");
            if (!arguments.keywords.empty()) runtime.fail("map takes no keyword argument '{}'", arguments.keywords[0].first);
            const Value list = iterate(runtime, operand);
            for (const Value& item : items_of(list)) items.push_back(attribute_path(runtime, item, attribute, fallback));
            return items;
        }
        if (arguments.positional.empty() || !arguments.positional[0].is_string())
            runtime.fail("map needs the name of a filter");
        const Value name = arguments.positional[0];
        arguments.positional.erase(arguments.positional.begin());
        const Value list = iterate(runtime, operand);
        for (const Value& item : items_of(list)) {
            CallArguments call = arguments;
            items.push_back(interpreter.apply_filter(view_of(name), item, call));
        }
        return items;
    });
}

template <bool kAttribute, bool kKeep>
Value filter_select(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    return generator(runtime, [&interpreter, &runtime, operand, arguments]() mutable -> std::vector<Value> {
        if (!truth(operand)) return {};
        const auto take_first = [&] {
            Value value = std::move(arguments.positional.front());
            arguments.positional.erase(arguments.positional.begin());
            return value;
        };
        Value attribute, test;
        if (kAttribute) {
            if (arguments.positional.empty()) runtime.fail("the name of the attribute to select by is missing");
            attribute = take_first();
        }
        if (!arguments.positional.empty()) {
            test = take_first();
            if (!test.is_string()) runtime.fail("the name of a test must be a string, not {}", type_name(test));
        }
        std::vector<Value> items;
        const Value list = iterate(runtime, operand);
        for (const Value& item : items_of(list)) {
            const Value value = attribute_path(runtime, item, attribute, Value());
            CallArguments call = arguments;
            const bool holds = test.is_missing() ? truth(value) : interpreter.apply_test(view_of(test), value, call);
            if (holds == kKeep) items.push_back(item);
        }
        return items;
    });
}

Value filter_groupby(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [attribute, fallback, case_sensitive] =
        bind(runtime, "groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
    const Value list = iterate(runtime, operand);
    const auto key_of = [&](const Value& item) {
        return compared(runtime, attribute_path(runtime, item, attribute, fallback), case_sensitive);
    };
    std::vector<Value> keys, groups, members;
    for (const Value& item : items_of(list)) keys.push_back(key_of(item));
    const std::vector<Value> in_order = sorted(runtime, items_of(list), keys, false);
    const auto finish = [&] {
        if (members.empty()) return;
        const Value grouper = attribute_path(runtime, members[0], attribute, fallback);
        Value group = make_tuple(runtime, {grouper, make_list(runtime, std::move(members))});
        group.as<SequenceObject>().is_group = true;
        groups.push_back(std::move(group));
        members.clear();
    };
    Value current;
    for (const Value& item : in_order) {
        Value key = key_of(item);
        if (!members.empty() && !equals(runtime, key, current)) finish();
        current = std::move(key);
        members.push_back(item);
    }
    finish();
    return make_list(runtime, std::move(groups));
}

Value filter_slice(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [slices, fill] = bind(runtime, "slice", arguments, {"slices", "fill_with"}, 1);
    return generator(runtime, [&runtime, operand, slices = slices, fill = fill] {
        const Value list = iterate(runtime, operand);
        const auto& items = items_of(list);
        const auto size = static_cast<std::int64_t>(items.size());
        const std::int64_t count = to_index(runtime, slices, "slice");
        if (count == 0) runtime.fail("integer division or modulo by zero");
        if (count > kMaxRange) runtime.fail("slice into {} parts is more than the limit of {}", count, kMaxRange);
        std::vector<Value> result;
        std::int64_t at = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const bool extra = i < size % count;
            const std::int64_t end = at + size / count + (extra ? 1 : 0);
            std::vector<Value> members(items.begin() + at, items.begin() + end);
            if (!fill.is_missing() && !fill.is_none() && !extra) members.push_back(fill);
            result.push_back(make_list(runtime, std::move(members)));
            at = end;
        }
        return result;
    });
}

Value filter_batch(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [count_value, fill] = bind(runtime, "batch", arguments, {"linecount", "fill_with"}, 1);
    return generator(runtime, [&runtime, operand, count_value = count_value, fill = fill] {
        const Value list = iterate(runtime, operand);
        const std::int64_t count = to_index(runtime, count_value, "batch");
        std::vector<Value> result, members;
        for (const Value& item : items_of(list)) {
            if (static_cast<std::int64_t>(members.size()) == count) {
                result.push_back(make_list(runtime, std::move(members)));
                members.clear();
            }
            members.push_back(item);
        }
        if (!members.empty()) {
            if (!fill.is_missing() && !fill.is_none()) {
                if (count > kMaxRange) runtime.fail("batches of {} are more than the limit of {}", count, kMaxRange);
                while (static_cast<std::int64_t>(members.size()) < count) members.push_back(fill);
            }
            result.push_back(make_list(runtime, std::move(members)));
        }
        return result;
    });
}

Value filter_default(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    const auto [fallback, boolean] = bind(interpreter.runtime, "default", arguments, {"default_value", "boolean"});
    if (!operand.is_undefined() && !(truth_or(boolean, false) && !truth(operand))) return operand;
    return fallback.is_missing() ? make_string(interpreter.runtime, "") : fallback;
}

Value filter_attr(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [name] = bind(runtime, "attr", arguments, {"name"}, 1);
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!name.is_string()) runtime.fail("attr needs a name, not {}", type_name(name));
    Value own = own_attribute(runtime, operand, view_of(name));
    return own.is_missing() ? no_attribute(runtime, operand, view_of(name)) : own;
}

Value filter_random(Interpreter& interpreter, const Value&, CallArguments&) {
    interpreter.runtime.fail("the filter 'random' is not supported: a prompt must not depend on chance");
}

constexpr Filter kFilters[] = {
    {"length", filter_length},
    {"count", filter_length},
    {"list", filter_list},
    {"items", filter_items},
    {"default", filter_default},
    {"d", filter_default},
    {"first", filter_first},
    {"last", filter_last},
    {"map", filter_map},
    {"select", filter_select<false, true>},
    {"reject", filter_select<false, false>},
    {"selectattr", filter_select<true, true>},
    {"rejectattr", filter_select<true, false>},
    {"sort", filter_sort},
    {"dictsort", filter_dictsort},
    {"unique", filter_unique},
    {"reverse", filter_reverse},
    {"groupby", filter_groupby},
    {"min", filter_extreme<false>},
    {"max", filter_extreme<true>},
    {"sum", filter_sum},
    {"slice", filter_slice},
    {"batch", filter_batch},
    {"attr", filter_attr},
    {"random", filter_random},
};

}  // namespace

std::span<const Filter> sequence_filters() { return kFilters; }

}  // namespace narae::jinja
