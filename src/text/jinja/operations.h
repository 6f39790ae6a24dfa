// What Python's operators and protocols do with values: truth, printing, iteration, indexing, comparing, arithmetic.
// All of them fail with UsageError where Python raises.
#pragma once

#include "text/jinja/numbers.h"
#include "text/jinja/text_parts.h"
#include "text/jinja/value.h"

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

namespace narae::jinja {

bool truth(const Value& value);

// str(value) and repr(value). What has a memory address in Python's text (functions, generators) fails.
TaggedText to_text(Runtime& runtime, const Value& value);
TaggedText to_repr(Runtime& runtime, const Value& value);
// repr of a string, without the Markup() around a safe one.
TaggedText quoted(Runtime& runtime, const TaggedText& text);

// The items that a for loop would see, as a list or tuple. A generator is used up.
Value iterate(Runtime& runtime, const Value& value);
bool is_iterable(const Value& value);
std::int64_t length(Runtime& runtime, const Value& value);
bool has_length(const Value& value);

// value.name and value[key] as a template sees them: nothing there is undefined, not an error.
Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
Value get_item(Runtime& runtime, const Value& value, const Value& key);
// The value's own attribute (a method, a loop's number), or missing; never a dict's key.
Value own_attribute(Runtime& runtime, const Value& value, std::string_view name);
// value[start:stop:step]; missing is left out.
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step);
bool contains(Runtime& runtime, const Value& container, const Value& needle);
bool is_hashable(Runtime& runtime, const Value& value);

// <, <= ...: between numbers, strings, lists, tuples. Lists and tuples compare item by item.
std::partial_ordering order(Runtime& runtime, const Value& a, const Value& b);
// Stable, as sorted(): items whose keys compare equal keep their order, also when reversed.
std::vector<Value> sorted(Runtime& runtime, const std::vector<Value>& items, const std::vector<Value>& keys, bool reverse);

Value arithmetic(Runtime& runtime, Arithmetic operation, const Value& a, const Value& b);
// HTML-escaped unless it is safe already, as a safe string.
Value escaped(Runtime& runtime, const Value& value);

// An undefined with the usual reason: 'dict object' has no attribute 'x'.
Value no_attribute(Runtime& runtime, const Value& value, std::string_view name);
[[noreturn]] void fail_undefined(Runtime& runtime, const Value& undefined);

// An index or count: integer or boolean.
std::int64_t to_index(Runtime& runtime, const Value& value, std::string_view what);

}  // namespace narae::jinja
