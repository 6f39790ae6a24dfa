// JSON for configurations, requests and templates: key order kept, duplicate keys and deep nesting refused.
// Files of many megabytes (tokenizer.json) are read with simdjson where they are parsed, not with this.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace narae {

using Json = nlohmann::ordered_json;

// Parses one document. BadFileError naming `what`, with line and column: bad syntax, invalid UTF-8, duplicate keys,
// nesting over 64, numbers that are not finite.
Json parse_json(std::string_view text, std::string_view what);

// Typed reading of an object's members. `what` names the document in the error. A member that is null counts as
// absent. Errors are BadFileError and name the key, what was found and what is needed.
std::optional<std::int64_t> get_int(const Json& object, std::string_view key, std::string_view what);  // accepts 8192.0
std::optional<double> get_double(const Json& object, std::string_view key, std::string_view what);
std::optional<bool> get_bool(const Json& object, std::string_view key, std::string_view what);
std::optional<std::string> get_string(const Json& object, std::string_view key, std::string_view what);
const Json* get_object(const Json& object, std::string_view key, std::string_view what);  // nullptr when absent
const Json* get_array(const Json& object, std::string_view key, std::string_view what);

// Text as a valid JSON document: invalid UTF-8 becomes U+FFFD. indent < 0: one line.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace narae
