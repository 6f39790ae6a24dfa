#include "text/jinja/from_json.h"

#include "text/unicode.h"

#include <algorithm>
#include <string_view>

namespace narae::jinja {
namespace {

constexpr std::string_view kRoles[] = {"system",   "developer", "user",        "assistant",   "model",  "tool",
                                       "function", "ipython",   "observation", "environment", "context"};

Value string_from(Runtime& runtime, const std::string& text, bool trusted) {
    if (!unicode::is_valid(text)) runtime.fail("a variable has a string that is not valid UTF-8");
    return make_string(runtime, text, trusted);
}

Value object_from(Runtime& runtime, const Json& object, bool trusted, bool is_message) {
    Value dict(Type::dict, new DictObject(runtime), trusted);
    for (const auto& [key, value] : object.items()) {
        const bool is_role =
            is_message && key == "role" && value.is_string() &&
            std::find(std::begin(kRoles), std::end(kRoles), value.get_ref<const std::string&>()) != std::end(kRoles);
        dict.as<DictObject>().set(string_from(runtime, key, trusted), from_json(runtime, value, trusted || is_role));
    }
    return dict;
}

}  // namespace

Value from_json(Runtime& runtime, const Json& json, bool trusted) {
    switch (json.type()) {
        case Json::value_t::boolean:
            return Value::boolean(json.get<bool>(), trusted);
        case Json::value_t::number_integer:
            return Value::integer(json.get<std::int64_t>(), trusted);
        case Json::value_t::number_unsigned: {
            const auto number = json.get<std::uint64_t>();
            if (number > static_cast<std::uint64_t>(INT64_MAX))
                runtime.fail("a variable has the integer {}, which does not fit 63 bits", number);
            return Value::integer(static_cast<std::int64_t>(number), trusted);
        }
        case Json::value_t::number_float:
            return Value::real(json.get<double>(), trusted);
        case Json::value_t::string:
            return string_from(runtime, json.get_ref<const std::string&>(), trusted);
        case Json::value_t::array: {
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "variables nested");
            std::vector<Value> items;
            items.reserve(json.size());
            for (const Json& item : json) items.push_back(from_json(runtime, item, trusted));
            return make_list(runtime, std::move(items), trusted);
        }
        case Json::value_t::object: {
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "variables nested");
            return object_from(runtime, json, trusted, false);
        }
        default:
            return Value::none();
    }
}

Value from_json_messages(Runtime& runtime, const Json& messages) {
    if (!messages.is_array()) return from_json(runtime, messages, false);
    std::vector<Value> items;
    items.reserve(messages.size());
    for (const Json& message : messages)
        items.push_back(message.is_object() ? object_from(runtime, message, false, true) : from_json(runtime, message, false));
    return make_list(runtime, std::move(items), false);
}

}  // namespace narae::jinja
