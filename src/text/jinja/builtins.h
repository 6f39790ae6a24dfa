// Jinja's filters, tests and global functions, by name.
#pragma once

#include "text/jinja/value.h"

#include <span>
#include <string_view>

namespace narae::jinja {

struct Filter {
    std::string_view name;
    Value (*apply)(Interpreter& interpreter, const Value& operand, CallArguments& arguments);
};

struct Test {
    std::string_view name;
    bool (*holds)(Interpreter& interpreter, const Value& operand, CallArguments& arguments);
};

// nullptr when there is none.
const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);
// A global function such as range or namespace; missing when there is none.
Value find_global(Runtime& runtime, std::string_view name);

std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> number_filters();

// |tojson: json.dumps with the arguments that transformers passes on.
Value to_json(Interpreter& interpreter, const Value& operand, CallArguments& arguments);

// The value at "a.b.0" of an item, which is what attribute= arguments mean. `fallback` (missing: none) replaces what
// is undefined.
Value attribute_path(Runtime& runtime, const Value& item, const Value& path, const Value& fallback);
// Strings in lower case, everything else as it is: how sort, unique and the like compare.
Value without_case(Runtime& runtime, const Value& value);
TaggedText lower(Runtime& runtime, const TaggedText& text);
TaggedText upper(Runtime& runtime, const TaggedText& text);
TaggedText capitalize(Runtime& runtime, const TaggedText& text);
TaggedText strip(Runtime& runtime, const TaggedText& text, const Value& chars, bool left, bool right);
Value join(Runtime& runtime, const TaggedText& separator, const std::vector<Value>& items);

}  // namespace narae::jinja
