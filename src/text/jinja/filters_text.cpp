// Filters that make text.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/string_format.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace narae::jinja {

TaggedText upper(Runtime& runtime, const TaggedText& text) {
    return map_code_points(runtime, text,
                           [](char32_t code, std::size_t, std::string& into) { append_case(code, Case::upper, into); });
}

TaggedText lower(Runtime& runtime, const TaggedText& text) {
    return map_code_points(
        runtime, text, [&](char32_t code, std::size_t at, std::string& into) { append_lower_at(text.text, at, code, into); });
}

TaggedText capitalize(Runtime& runtime, const TaggedText& text) {
    return map_code_points(runtime, text, [&](char32_t code, std::size_t at, std::string& into) {
        if (at == 0) {
            append_case(code, Case::title, into);
        } else {
            append_lower_at(text.text, at, code, into);
        }
    });
}

TaggedText strip(Runtime& runtime, const TaggedText& text, const Value& chars, bool left, bool right) {
    if (chars.is_undefined()) fail_undefined(runtime, chars);
    const bool given = !chars.is_missing() && !chars.is_none();
    if (given && !chars.is_string()) runtime.fail("strip arg must be None or str, not {}", type_name(chars));
    const std::string_view set = given ? view_of(chars) : std::string_view();
    const auto [begin, end] = strip_bounds(text.text, given ? &set : nullptr, left, right);
    runtime.charge_bytes(text.text.size());
    runtime.charge_scan((text.text.size() - (end - begin)) * (1 + set.size() / 8));
    return part(text, begin, end);
}

Value join(Runtime& runtime, const TaggedText& separator, const std::vector<Value>& items) {
    TextBuilder result(runtime);
    bool first = true;
    for (const Value& item : items) {
        if (!first) result.append(separator);
        first = false;
        if (item.is_string()) {
            result.append(text_of(item));
        } else {
            result.append(to_text(runtime, item));
        }
    }
    return make_string(runtime, result.take());
}

Value without_case(Runtime& runtime, const Value& value) {
    return value.is_string() ? make_string(runtime, lower(runtime, text_of(value))) : value;
}

namespace {

// markupsafe's soft_str: a string as it is, safe or not; anything else as text.
Value soft_string(Runtime& runtime, const Value& value) {
    return value.is_string() ? value : make_string(runtime, to_text(runtime, value));
}

bool is_markup(const Value& string) { return string.as<StringObject>().markup; }

template <TaggedText (*kMap)(Runtime&, const TaggedText&)>
Value filter_map_text(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this filter", arguments);
    const Value text = soft_string(interpreter.runtime, operand);
    return make_string(interpreter.runtime, kMap(interpreter.runtime, text_of(text)), is_markup(text));
}

// Not str.title(): words begin behind white space, brackets and hyphens only.
Value filter_title(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "title", arguments);
    const Value value = soft_string(runtime, operand);
    const TaggedText& text = text_of(value);
    bool begins = true;
    TaggedText result = map_code_points(runtime, text, [&](char32_t code, std::size_t at, std::string& into) {
        const bool separates = is_space(code) || std::u32string_view(U"-({[<").find(code) != std::u32string_view::npos;
        if (separates) {
            encode(code, into);
        } else if (begins) {
            append_case(code, Case::upper, into);
        } else {
            append_lower_at(text.text, at, code, into);
        }
        begins = separates;
    });
    return make_string(runtime, std::move(result), is_markup(value));
}

Value filter_trim(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [chars] = bind(runtime, "trim", arguments, {"chars"});
    const Value text = soft_string(runtime, operand);
    return make_string(runtime, strip(runtime, text_of(text), chars, true, true), is_markup(text));
}

Value filter_string(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "string", arguments);
    return soft_string(interpreter.runtime, operand);
}

Value filter_safe(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "safe", arguments);
    return make_string(interpreter.runtime, to_text(interpreter.runtime, operand), true);
}

Value filter_escape(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    bind_none(interpreter.runtime, "escape", arguments);
    return escaped(interpreter.runtime, operand);
}

Value filter_forceescape(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "forceescape", arguments);
    return make_string(runtime, html_escaped(runtime, to_text(runtime, operand)), true);
}

Value filter_replace(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [old, replacement, count] = bind(runtime, "replace", arguments, {"old", "new", "count"}, 2);
    const std::int64_t most = count.is_none() ? -1 : integer_or(runtime, count, -1, "replace");
    return make_string(runtime, replace_all(runtime, to_text(runtime, operand), to_text(runtime, old).text,
                                            to_text(runtime, replacement), most));
}

// Lines keep the trust of their breaks: what the indentation adds to a user's line break is the user's doing.
Value filter_indent(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [width, first, blank] = bind(runtime, "indent", arguments, {"width", "first", "blank"});
    if (operand.is_undefined()) fail_undefined(runtime, operand);
    if (!operand.is_string()) runtime.fail("indent needs a string, not {}", type_name(operand));
    TaggedText indentation;
    if (width.is_string()) {
        indentation = text_of(width);
    } else {
        const std::int64_t spaces = std::max<std::int64_t>(integer_or(runtime, width, 4, "indent"), 0);
        runtime.check_string_bytes(static_cast<std::size_t>(spaces));
        indentation = tagged(std::string(static_cast<std::size_t>(spaces), ' '), true);
    }
    const bool markup = is_markup(operand);
    if (markup && width.is_string() && !is_markup(width))
        runtime.fail("indenting a safe string with one that is not is not supported");

    TaggedText text = text_of(operand);
    text.append("\n", true);
    const bool indents_blank = truth_or(blank, false);
    TextBuilder result(runtime);
    if (truth_or(first, false)) result.append(indentation);
    std::size_t previous_break = kToEnd;
    for (std::size_t at = 0; at < text.text.size();) {
        const Line line = next_line(text.text, at);
        if (previous_break != kToEnd) {
            result.append("\n", is_trusted_at(text, previous_break));
            if (line.end > line.begin || indents_blank) result.append(indentation);
        }
        result.append(text, line.begin, line.end);
        previous_break = line.end;
    }
    return make_string(runtime, result.take(), markup);
}

Value filter_join(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [separator, attribute] = bind(runtime, "join", arguments, {"d", "attribute"});
    const Value list = iterate(runtime, operand);
    const TaggedText between = separator.is_missing() ? TaggedText{} : to_text(runtime, separator);
    if (attribute.is_missing() || attribute.is_none()) return join(runtime, between, items_of(list));
    std::vector<Value> items;
    for (const Value& item : items_of(list)) items.push_back(attribute_path(runtime, item, attribute, Value()));
    return join(runtime, between, items);
}

Value filter_format(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    if (!arguments.positional.empty() && !arguments.keywords.empty())
        runtime.fail("format can't handle positional and keyword arguments at the same time");
    const Value format = soft_string(runtime, operand);
    if (arguments.keywords.empty())
        return format_percent(runtime, format, make_tuple(runtime, std::move(arguments.positional)));
    const Value values(Type::dict, new DictObject(runtime));
    for (const auto& [name, value] : arguments.keywords) values.as<DictObject>().set(make_string(runtime, name), value);
    return format_percent(runtime, format, values);
}

Value filter_center(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [width] = bind(runtime, "center", arguments, {"width"});
    CallArguments call;
    call.positional.push_back(width.is_missing() ? Value::integer(80) : width);
    return interpreter.call(get_attribute(runtime, soft_string(runtime, operand), "center"), call);
}

Value filter_truncate(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [length_value, killwords, end_value, leeway_value] =
        bind(runtime, "truncate", arguments, {"length", "killwords", "end", "leeway"});
    const std::int64_t size = integer_or(runtime, length_value, 255, "truncate");
    const std::int64_t leeway = leeway_value.is_none() ? 5 : integer_or(runtime, leeway_value, 5, "truncate");
    const Value end = end_value.is_missing() ? make_string(runtime, "...") : soft_string(runtime, end_value);
    const auto end_size = static_cast<std::int64_t>(end.as<StringObject>().code_points);
    if (size < end_size || leeway < 0) runtime.fail("truncate needs a length of at least {} and no negative leeway", end_size);
    const std::int64_t operand_size = length(runtime, operand);
    if (leeway >= operand_size || operand_size - leeway <= size) return operand;
    if (!operand.is_string()) runtime.fail("truncate needs a string, not {}", type_name(operand));
    Value kept = slice(runtime, operand, Value(), Value::integer(size - end_size), Value());
    if (!truth_or(killwords, false)) {
        const std::size_t space = view_of(kept).rfind(' ');
        if (space != std::string_view::npos) kept = make_string(runtime, part(text_of(kept), 0, space), is_markup(kept));
    }
    return arithmetic(runtime, Arithmetic::add, kept, end);
}

Value filter_wordcount(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "wordcount", arguments);
    const TaggedText text = to_text(runtime, operand);
    charge_map(runtime, text.text);
    std::int64_t count = 0;
    bool in_word = false;
    for (std::size_t at = 0; at < text.text.size();) {
        const char32_t code = decode(text.text, at);
        const bool word = is_alpha(code) || is_digit(code) || code == U'_';
        count += word && !in_word ? 1 : 0;
        in_word = word;
    }
    return Value::integer(count);
}

TaggedText percent_encoded(Runtime& runtime, const TaggedText& text, bool query) {
    return map_code_points(runtime, text, [&](char32_t code, std::size_t, std::string& into) {
        const bool plain = (code >= U'a' && code <= U'z') || (code >= U'A' && code <= U'Z') || (code >= U'0' && code <= U'9') ||
                           std::u32string_view(U"_.-~").find(code) != std::u32string_view::npos || (code == U'/' && !query);
        if (plain) return into.push_back(static_cast<char>(code));
        if (code == U' ' && query) return into.push_back('+');
        std::string bytes;
        encode(code, bytes);
        constexpr std::string_view kHex = "0123456789ABCDEF";
        for (const char byte : bytes) {
            const auto number = static_cast<unsigned char>(byte);
            into.push_back('%');
            into.push_back(kHex[number >> 4]);
            into.push_back(kHex[number & 15]);
        }
    });
}

Value filter_urlencode(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    bind_none(runtime, "urlencode", arguments);
    if (operand.is_string() || !is_iterable(operand))
        return make_string(runtime, percent_encoded(runtime, to_text(runtime, operand), false));
    const Value list = operand.is(Type::dict)
                           ? iterate(runtime, Value(Type::view, new ViewObject(runtime, operand, ViewObject::Kind::items)))
                           : iterate(runtime, operand);
    TextBuilder result(runtime);
    for (const Value& pair : items_of(list)) {
        const Value both = iterate(runtime, pair);
        if (items_of(both).size() != 2) runtime.fail("urlencode needs pairs of key and value");
        if (!result.text().text.empty()) result.append("&", true);
        result.append(percent_encoded(runtime, to_text(runtime, items_of(both)[0]), true));
        result.append("=", true);
        result.append(percent_encoded(runtime, to_text(runtime, items_of(both)[1]), true));
    }
    return make_string(runtime, result.take());
}

Value filter_unsupported(Interpreter& interpreter, const Value&, CallArguments&) {
    interpreter.runtime.fail("this filter is not supported in chat templates");
}

constexpr Filter kFilters[] = {
    {"tojson", to_json},
    {"trim", filter_trim},
    {"string", filter_string},
    {"upper", filter_map_text<upper>},
    {"lower", filter_map_text<lower>},
    {"capitalize", filter_map_text<capitalize>},
    {"title", filter_title},
    {"replace", filter_replace},
    {"join", filter_join},
    {"indent", filter_indent},
    {"format", filter_format},
    {"safe", filter_safe},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"forceescape", filter_forceescape},
    {"center", filter_center},
    {"truncate", filter_truncate},
    {"wordcount", filter_wordcount},
    {"urlencode", filter_urlencode},
    {"pprint", filter_unsupported},
    {"striptags", filter_unsupported},
    {"urlize", filter_unsupported},
    {"wordwrap", filter_unsupported},
    {"xmlattr", filter_unsupported},
};

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace narae::jinja
