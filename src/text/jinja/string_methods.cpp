// The methods of str.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/string_format.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace narae::jinja {
namespace {

// A text of the same kind: what is done to a safe string is safe.
Value like(Runtime& runtime, const Value& self, TaggedText text) {
    return make_string(runtime, std::move(text), self.as<StringObject>().markup);
}

// What is put into a safe string is escaped.
TaggedText put_into(Runtime& runtime, const Value& self, const Value& value) {
    return self.as<StringObject>().markup ? text_of(escaped(runtime, value)) : text_of(value);
}

const Value& need_string(Runtime& runtime, const Value& value, std::string_view method) {
    if (value.is_undefined()) fail_undefined(runtime, value);
    if (!value.is_string()) runtime.fail("str.{}() needs a string, not {}", method, type_name(value));
    return value;
}

bool given(const Value& value) { return !value.is_missing() && !value.is_none(); }

// ---- case

Value method_upper(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "upper", arguments);
    return like(interpreter.runtime, self, upper(interpreter.runtime, text_of(self)));
}

Value method_lower(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "lower", arguments);
    return like(interpreter.runtime, self, lower(interpreter.runtime, text_of(self)));
}

Value method_capitalize(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "capitalize", arguments);
    return like(interpreter.runtime, self, capitalize(interpreter.runtime, text_of(self)));
}

Value method_title(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "title", arguments);
    const TaggedText& text = text_of(self);
    bool in_word = false;
    return like(interpreter.runtime, self,
                map_code_points(interpreter.runtime, text, [&](char32_t code, std::size_t at, std::string& into) {
                    if (in_word) {
                        append_lower_at(text.text, at, code, into);
                    } else {
                        append_case(code, Case::title, into);
                    }
                    in_word = is_cased(code);
                }));
}

Value method_swapcase(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "swapcase", arguments);
    const TaggedText& text = text_of(self);
    return like(interpreter.runtime, self,
                map_code_points(interpreter.runtime, text, [&](char32_t code, std::size_t at, std::string& into) {
                    if (is_upper(code)) {
                        append_lower_at(text.text, at, code, into);
                    } else if (is_lower(code)) {
                        append_case(code, Case::upper, into);
                    } else {
                        encode(code, into);
                    }
                }));
}

// ---- trimming and padding

template <bool kLeft, bool kRight>
Value method_strip(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    const auto [chars] = bind(interpreter.runtime, "strip", arguments, {"chars"}, 0, Keywords::refused);
    return like(interpreter.runtime, self, strip(interpreter.runtime, text_of(self), chars, kLeft, kRight));
}

template <bool kSuffix>
Value method_remove(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    constexpr std::string_view kName = kSuffix ? "removesuffix" : "removeprefix";
    const auto [affix] = bind(interpreter.runtime, kName, arguments, {"affix"}, 1, Keywords::refused);
    const std::string_view text = view_of(self), what = view_of(need_string(interpreter.runtime, affix, kName));
    if (what.empty() || !(kSuffix ? text.ends_with(what) : text.starts_with(what))) return self;
    const std::size_t begin = kSuffix ? 0 : what.size(), end = kSuffix ? text.size() - what.size() : text.size();
    return like(interpreter.runtime, self, part(text_of(self), begin, end));
}

// Pads to `width` code points with `left` and `right` counts worked out by the caller.
Value padded(Interpreter& interpreter, const Value& self, std::string_view method, const Value& width, const Value& fill,
             int left_share) {
    Runtime& runtime = interpreter.runtime;
    const auto size = static_cast<std::int64_t>(self.as<StringObject>().code_points);
    const std::int64_t goal = to_index(runtime, width, method);
    if (goal <= size) return self;
    if (!fill.is_missing() && (!fill.is_string() || fill.as<StringObject>().code_points != 1))
        runtime.fail("the fill character must be exactly one character long");
    const TaggedText one = fill.is_missing() ? tagged(" ", true) : put_into(runtime, self, fill);
    runtime.check_string_bytes(static_cast<std::size_t>(std::min(goal - size, std::int64_t{1} << 40)) * one.text.size());
    const std::int64_t total = goal - size;
    // str.center puts the odd one left when both the padding and the width are odd.
    const std::int64_t left = left_share == 0 ? 0 : left_share == 2 ? total : total / 2 + (total & goal & 1);
    TextBuilder result(runtime);
    for (std::int64_t i = 0; i < left; ++i) result.append(one);
    result.append(text_of(self));
    for (std::int64_t i = left; i < total; ++i) result.append(one);
    return like(runtime, self, result.take());
}

template <int kLeftShare>
Value method_justify(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    constexpr std::string_view kName = kLeftShare == 0 ? "ljust" : kLeftShare == 2 ? "rjust" : "center";
    const auto [width, fill] = bind(interpreter.runtime, kName, arguments, {"width", "fillchar"}, 1, Keywords::refused);
    return padded(interpreter, self, kName, width, fill, kLeftShare);
}

Value method_zfill(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [width] = bind(runtime, "zfill", arguments, {"width"}, 1, Keywords::refused);
    const bool has_sign = view_of(self).starts_with('-') || view_of(self).starts_with('+');
    const auto rest = make_string(runtime, part(text_of(self), has_sign ? 1 : 0));
    const Value goal = Value::integer(to_index(runtime, width, "zfill") - (has_sign ? 1 : 0));
    const Value filled = padded(interpreter, rest, "zfill", goal, make_string(runtime, "0"), 2);
    TextBuilder result(runtime);
    result.append(text_of(self), 0, has_sign ? 1 : 0);
    result.append(text_of(filled));
    return like(runtime, self, result.take());
}

// ---- searching

// The time of searching from the right, which may look at every byte of `what` everywhere.
void charge_search_from_right(Runtime& runtime, std::string_view text, std::string_view what) {
    runtime.charge(1 + text.size() / 64 * (1 + what.size()));
}

// The part of the string that [start, end) names, in bytes.
std::pair<std::size_t, std::size_t> searched(Runtime& runtime, const Value& self, const Value& start, const Value& end) {
    const std::string_view text = view_of(self);
    runtime.charge_scan(text.size());
    const auto size = static_cast<std::int64_t>(self.as<StringObject>().code_points);
    const auto bound = [&](const Value& value, std::int64_t otherwise) {
        std::int64_t index = given(value) ? to_index(runtime, value, "a position") : otherwise;
        if (index < 0) index = std::max<std::int64_t>(index + size, 0);
        return index;
    };
    const std::int64_t first = bound(start, 0), last = std::min(bound(end, size), size);
    if (first > last) return {1, 0};
    return {byte_of(text, static_cast<std::size_t>(first)), byte_of(text, static_cast<std::size_t>(last))};
}

template <bool kLast, bool kMustFind>
Value method_find(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    constexpr std::string_view kName = kMustFind ? (kLast ? "rindex" : "index") : (kLast ? "rfind" : "find");
    const auto [what, start, end] = bind(runtime, kName, arguments, {"sub", "start", "end"}, 1, Keywords::refused);
    const auto [from, to] = searched(runtime, self, start, end);
    const std::string_view needle = view_of(need_string(runtime, what, kName));
    std::size_t found = std::string_view::npos;
    if (from <= to) {
        const std::string_view within = view_of(self).substr(from, to - from);
        if (kLast) charge_search_from_right(runtime, within, needle);
        found = kLast ? within.rfind(needle) : find_text(within, needle, 0);
    }
    if (found != std::string_view::npos)
        return Value::integer(static_cast<std::int64_t>(count_code_points(view_of(self).substr(0, from + found))));
    if (kMustFind) runtime.fail("substring not found");
    return Value::integer(-1);
}

Value method_count(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [what, start, end] = bind(runtime, "count", arguments, {"sub", "start", "end"}, 1, Keywords::refused);
    const auto [from, to] = searched(runtime, self, start, end);
    const std::string_view needle = view_of(need_string(runtime, what, "count"));
    if (from > to) return Value::integer(0);
    const std::string_view within = view_of(self).substr(from, to - from);
    if (needle.empty()) return Value::integer(static_cast<std::int64_t>(count_code_points(within)) + 1);
    std::int64_t count = 0;
    for (std::size_t at = find_text(within, needle, 0); at != std::string_view::npos;
         at = find_text(within, needle, at + needle.size()))
        ++count;
    return Value::integer(count);
}

template <bool kSuffix>
Value method_starts(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    constexpr std::string_view kName = kSuffix ? "endswith" : "startswith";
    const auto [what, start, end] = bind(runtime, kName, arguments, {"affix", "start", "end"}, 1, Keywords::refused);
    const auto [from, to] = searched(runtime, self, start, end);
    if (from > to) return Value::boolean(false);
    const std::string_view within = view_of(self).substr(from, to - from);
    const auto matches = [&](const Value& affix) {
        const std::string_view text = view_of(need_string(runtime, affix, kName));
        return kSuffix ? within.ends_with(text) : within.starts_with(text);
    };
    if (!what.is(Type::tuple)) return Value::boolean(matches(what));
    return Value::boolean(std::any_of(items_of(what).begin(), items_of(what).end(), matches));
}

// ---- splitting and joining

// Calls emit(begin, end) for each part, from the left.
template <class Emit>
void split_words(std::string_view text, std::int64_t most, Emit emit) {
    std::size_t at = 0;
    while (true) {
        at += strip_bounds(text.substr(at), nullptr, true, false).first;
        if (at == text.size()) return;
        if (most-- == 0) return emit(at, text.size());
        const std::size_t begin = at;
        std::size_t end = at;
        while (at < text.size()) {
            end = at;
            if (is_space(decode(text, at))) break;
            end = at;
        }
        emit(begin, end);
        at = end;
    }
}

// From the right.
template <class Emit>
void split_words_from_right(std::string_view text, std::int64_t most, Emit emit) {
    std::size_t at = text.size();
    while (true) {
        at = strip_bounds(text.substr(0, at), nullptr, false, true).second;
        if (at == 0) return;
        if (most-- == 0) return emit(0, at);
        const std::size_t end = at;
        std::size_t begin = at;
        while (at > 0) {
            begin = at;
            if (is_space(decode_before(text, at))) break;
            begin = at;
        }
        emit(begin, end);
        at = begin;
    }
}

template <class Emit>
void split_at(std::string_view text, std::string_view separator, std::int64_t most, Emit emit) {
    std::size_t begin = 0;
    while (most-- != 0) {
        const std::size_t found = find_text(text, separator, begin);
        if (found == std::string_view::npos) break;
        emit(begin, found);
        begin = found + separator.size();
    }
    emit(begin, text.size());
}

template <class Emit>
void split_at_from_right(std::string_view text, std::string_view separator, std::int64_t most, Emit emit) {
    std::size_t end = text.size();
    while (most-- != 0 && end >= separator.size()) {
        const std::size_t found = text.rfind(separator, end - separator.size());
        if (found == std::string_view::npos) break;
        emit(found + separator.size(), end);
        end = found;
    }
    emit(0, end);
}

template <bool kRight>
Value method_split(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    constexpr std::string_view kName = kRight ? "rsplit" : "split";
    const auto [separator, count] = bind(runtime, kName, arguments, {"sep", "maxsplit"});
    const std::int64_t most = integer_or(runtime, count, -1, kName);
    const std::string_view text = view_of(self);
    runtime.charge_scan(text.size());
    std::vector<Value> items;
    const auto emit = [&](std::size_t begin, std::size_t end) {
        items.push_back(like(runtime, self, part(text_of(self), begin, end)));
    };
    if (!given(separator)) {
        kRight ? split_words_from_right(text, most, emit) : split_words(text, most, emit);
    } else {
        const std::string_view between = view_of(need_string(runtime, separator, kName));
        if (between.empty()) runtime.fail("empty separator");
        if (kRight) charge_search_from_right(runtime, text, between);
        kRight ? split_at_from_right(text, between, most, emit) : split_at(text, between, most, emit);
    }
    if (kRight) std::reverse(items.begin(), items.end());
    return make_list(runtime, std::move(items));
}

Value method_splitlines(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [keep_ends] = bind(runtime, "splitlines", arguments, {"keepends"});
    const bool keeps = truth_or(keep_ends, false);
    runtime.charge_scan(view_of(self).size());
    std::vector<Value> lines;
    for (std::size_t at = 0; at < view_of(self).size();) {
        const Line line = next_line(view_of(self), at);
        lines.push_back(like(runtime, self, part(text_of(self), line.begin, keeps ? line.next : line.end)));
    }
    return make_list(runtime, std::move(lines));
}

template <bool kRight>
Value method_partition(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [separator] = bind(runtime, "partition", arguments, {"sep"}, 1, Keywords::refused);
    const std::string_view text = view_of(self), between = view_of(need_string(runtime, separator, "partition"));
    if (between.empty()) runtime.fail("empty separator");
    runtime.charge_scan(text.size());
    if (kRight) charge_search_from_right(runtime, text, between);
    const std::size_t found = kRight ? text.rfind(between) : find_text(text, between, 0);
    const auto piece = [&](std::size_t begin, std::size_t end) { return like(runtime, self, part(text_of(self), begin, end)); };
    if (found != std::string_view::npos)
        return make_tuple(
            runtime, {piece(0, found), like(runtime, self, text_of(separator)), piece(found + between.size(), text.size())});
    const Value nothing = like(runtime, self, {}), all = like(runtime, self, text_of(self));
    return kRight ? make_tuple(runtime, {nothing, nothing, all}) : make_tuple(runtime, {all, nothing, nothing});
}

Value method_join(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [iterable] = bind(runtime, "join", arguments, {"iterable"}, 1, Keywords::refused);
    const Value items = iterate(runtime, iterable);
    const bool markup = self.as<StringObject>().markup;
    TextBuilder result(runtime);
    bool first = true;
    for (const Value& item : items_of(items)) {
        if (!first) result.append(text_of(self));
        first = false;
        if (!markup) need_string(runtime, item, "join");
        result.append(markup ? text_of(escaped(runtime, item)) : text_of(item));
    }
    return like(runtime, self, result.take());
}

Value method_replace(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [old, replacement, count] = bind(runtime, "replace", arguments, {"old", "new", "count"}, 2, Keywords::refused);
    need_string(runtime, old, "replace");
    need_string(runtime, replacement, "replace");
    return like(runtime, self,
                replace_all(runtime, text_of(self), view_of(old), put_into(runtime, self, replacement),
                            integer_or(runtime, count, -1, "replace")));
}

// ---- questions

// Whether there are code points, and all of them are of a kind.
template <bool (*kIs)(char32_t)>
Value method_all(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "this method of str", arguments);
    const std::string_view text = view_of(self);
    charge_map(interpreter.runtime, text);
    for (std::size_t at = 0; at < text.size();)
        if (!kIs(decode(text, at))) return Value::boolean(false);
    return Value::boolean(!text.empty());
}

bool is_alnum(char32_t code) { return is_alpha(code) || is_digit(code); }

Value method_isascii(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "isascii", arguments);
    return Value::boolean(self.as<StringObject>().code_points == view_of(self).size());
}

Value method_isprintable(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    return view_of(self).empty() ? Value::boolean(true) : method_all<is_printable>(interpreter, self, arguments);
}

Value method_isidentifier(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "isidentifier", arguments);
    const std::string_view text = view_of(self);
    charge_map(interpreter.runtime, text);
    for (std::size_t at = 0; at < text.size();) {
        const bool first = at == 0;
        const char32_t code = decode(text, at);
        if (!(first ? is_identifier_start(code) : is_identifier_part(code))) return Value::boolean(false);
    }
    return Value::boolean(!text.empty());
}

// No cased code point of the other kind, and at least one of this.
template <bool kUpper>
Value method_iscase(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, kUpper ? "isupper" : "islower", arguments);
    const std::string_view text = view_of(self);
    charge_map(interpreter.runtime, text);
    bool any = false;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t code = decode(text, at);
        if (kUpper ? is_upper(code) : is_lower(code)) {
            any = true;
        } else if (is_cased(code)) {
            return Value::boolean(false);
        }
    }
    return Value::boolean(any);
}

Value method_istitle(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    bind_none(interpreter.runtime, "istitle", arguments);
    const std::string_view text = view_of(self);
    charge_map(interpreter.runtime, text);
    bool any = false, in_word = false;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t code = decode(text, at);
        if (!is_cased(code)) {
            in_word = false;
            continue;
        }
        if (is_lower(code) != in_word) return Value::boolean(false);
        in_word = any = true;
    }
    return Value::boolean(any);
}

// ---- formatting

Value method_format(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    return format_braces(interpreter.runtime, self, arguments);
}

Value method_format_map(Interpreter& interpreter, const Value& self, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [mapping] = bind(runtime, "format_map", arguments, {"mapping"}, 1, Keywords::refused);
    if (!mapping.is(Type::dict)) runtime.fail("format_map() needs a dict, not {}", type_name(mapping));
    CallArguments fields;
    for (const auto& [key, value] : mapping.as<DictObject>().entries)
        if (key.is_string()) fields.keywords.emplace_back(view_of(key), value);
    return format_braces(runtime, self, fields);
}

Value method_unsupported(Interpreter& interpreter, const Value&, CallArguments&) {
    interpreter.runtime.fail("this method of str is not supported in chat templates");
}

constexpr Method kMethods[] = {
    {"strip", method_strip<true, true>},
    {"lstrip", method_strip<true, false>},
    {"rstrip", method_strip<false, true>},
    {"split", method_split<false>},
    {"rsplit", method_split<true>},
    {"splitlines", method_splitlines},
    {"startswith", method_starts<false>},
    {"endswith", method_starts<true>},
    {"replace", method_replace},
    {"join", method_join},
    {"upper", method_upper},
    {"lower", method_lower},
    {"capitalize", method_capitalize},
    {"title", method_title},
    {"swapcase", method_swapcase},
    {"find", method_find<false, false>},
    {"rfind", method_find<true, false>},
    {"index", method_find<false, true>},
    {"rindex", method_find<true, true>},
    {"count", method_count},
    {"partition", method_partition<false>},
    {"rpartition", method_partition<true>},
    {"removeprefix", method_remove<false>},
    {"removesuffix", method_remove<true>},
    {"ljust", method_justify<0>},
    {"center", method_justify<1>},
    {"rjust", method_justify<2>},
    {"zfill", method_zfill},
    {"format", method_format},
    {"format_map", method_format_map},
    {"isalpha", method_all<is_alpha>},
    {"isdigit", method_all<is_digit>},
    {"isdecimal", method_all<is_decimal>},
    {"isalnum", method_all<is_alnum>},
    {"isspace", method_all<is_space>},
    {"isascii", method_isascii},
    {"isprintable", method_isprintable},
    {"isidentifier", method_isidentifier},
    {"islower", method_iscase<false>},
    {"isupper", method_iscase<true>},
    {"istitle", method_istitle},
    {"isnumeric", method_unsupported},
    {"casefold", method_unsupported},
    {"encode", method_unsupported},
    {"expandtabs", method_unsupported},
    {"translate", method_unsupported},
    {"maketrans", method_unsupported},
};

}  // namespace

std::span<const Method> string_methods() { return kMethods; }

}  // namespace narae::jinja
