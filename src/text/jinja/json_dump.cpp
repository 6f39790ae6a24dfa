// |tojson, byte for byte as Python's json.dumps.
#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <cmath>

namespace narae::jinja {
namespace {

struct Style {
    bool ensure_ascii = false;
    bool indented = false;
    TaggedText indent;  // of one level
    TaggedText item_separator, key_separator;
    bool sort_keys = false;
};

class Dumper {
public:
    Dumper(Runtime& runtime, const Style& style) : runtime_(runtime), style_(style), result_(runtime) {}

    TaggedText take() { return result_.take(); }

    void dump(const Value& value, int level) {
        runtime_.charge();
        switch (value.type()) {
            case Type::none:
                add("null", value.trusted());
                break;
            case Type::boolean:
                add(value.as_boolean() ? "true" : "false", value.trusted());
                break;
            case Type::integer:
                add(fmt::format("{}", value.as_integer()), value.trusted());
                break;
            case Type::real:
                add(real_text(value.as_real()), value.trusted());
                break;
            case Type::string:
                string(text_of(value));
                break;
            case Type::list:
            case Type::tuple:
                sequence(value, level);
                break;
            case Type::dict:
                dict(value, level);
                break;
            default:
                runtime_.fail("object of type {} is not JSON serializable", type_name(value));
        }
    }

private:
    void add(std::string_view text, bool trusted) { result_.append(text, trusted); }

    static std::string real_text(double real) {
        if (std::isnan(real)) return "NaN";
        if (std::isinf(real)) return real < 0 ? "-Infinity" : "Infinity";
        return real_repr(real);
    }

    // The quotes belong to the text beside them.
    void string(const TaggedText& text) {
        add("\"", is_trusted_at(text, 0));
        result_.append(map_code_points(runtime_, text, [&](char32_t code, std::size_t, std::string& into) {
            switch (code) {
                case U'"':
                    into.append("\\\"");
                    return;
                case U'\\':
                    into.append("\\\\");
                    return;
                case U'\n':
                    into.append("\\n");
                    return;
                case U'\r':
                    into.append("\\r");
                    return;
                case U'\t':
                    into.append("\\t");
                    return;
                case U'\f':
                    into.append("\\f");
                    return;
                case U'\b':
                    into.append("\\b");
                    return;
                default:
                    break;
            }
            if (code >= 0x20 && (!style_.ensure_ascii || code < 0x7F)) {
                encode(code, into);
            } else if (code < 0x10000) {
                append_escape('u', code, into);
            } else {
                append_escape('u', 0xD800 + ((code - 0x10000) >> 10), into);
                append_escape('u', 0xDC00 + ((code - 0x10000) & 0x3FF), into);
            }
        }));
        add("\"", text.text.empty() || is_trusted_at(text, text.text.size() - 1));
    }

    void separator(const TaggedText& text, bool trusted) {
        if (trusted) {
            result_.append(text);
        } else {
            add(text.text, false);
        }
    }

    void new_line(int level, bool trusted) {
        if (!style_.indented) return;
        add("\n", trusted);
        for (int i = 0; i < level; ++i) separator(style_.indent, trusted);
    }

    void sequence(const Value& value, int level) {
        const DepthScope scope(runtime_, runtime_.value_depth, kMaxValueDepth, "values nested for tojson");
        const bool trusted = value.trusted();
        if (items_of(value).empty()) return add("[]", trusted);
        add("[", trusted);
        bool first = true;
        for (const Value& item : items_of(value)) {
            if (!first) separator(style_.item_separator, trusted);
            first = false;
            new_line(level + 1, trusted);
            dump(item, level + 1);
        }
        new_line(level, trusted);
        add("]", trusted);
    }

    void key(const Value& name) {
        switch (name.type()) {
            case Type::string:
                return string(text_of(name));
            case Type::none:
                return string(tagged("null", name.trusted()));
            case Type::boolean:
                return string(tagged(name.as_boolean() ? "true" : "false", name.trusted()));
            case Type::integer:
                return string(tagged(fmt::format("{}", name.as_integer()), name.trusted()));
            case Type::real:
                return string(tagged(real_text(name.as_real()), name.trusted()));
            default:
                runtime_.fail("keys must be str, int, float, bool or None, not {}", type_name(name));
        }
    }

    void dict(const Value& value, int level) {
        const DepthScope scope(runtime_, runtime_.value_depth, kMaxValueDepth, "values nested for tojson");
        const bool trusted = value.trusted();
        const auto& entries = value.as<DictObject>().entries;
        if (entries.empty()) return add("{}", trusted);
        std::vector<Value> keys, values;
        if (style_.sort_keys) {
            for (const auto& [name, item] : entries) {
                keys.push_back(name);
                values.push_back(make_tuple(runtime_, {name, item}));
            }
            values = sorted(runtime_, values, keys, false);
        }
        add("{", trusted);
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (i > 0) separator(style_.item_separator, trusted);
            new_line(level + 1, trusted);
            key(style_.sort_keys ? items_of(values[i])[0] : entries[i].first);
            separator(style_.key_separator, trusted);
            dump(style_.sort_keys ? items_of(values[i])[1] : entries[i].second, level + 1);
        }
        new_line(level, trusted);
        add("}", trusted);
    }

    Runtime& runtime_;
    const Style& style_;
    TextBuilder result_;
};

}  // namespace

Value to_json(Interpreter& interpreter, const Value& operand, CallArguments& arguments) {
    Runtime& runtime = interpreter.runtime;
    const auto [ensure_ascii, indent, separators, sort_keys] =
        bind(runtime, "tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
    Style style;
    style.ensure_ascii = truth_or(ensure_ascii, false);
    style.sort_keys = truth_or(sort_keys, false);
    style.indented = !indent.is_missing() && !indent.is_none();
    if (style.indented) {
        if (indent.is_string()) {
            style.indent = text_of(indent);
        } else {
            const std::int64_t width = std::max<std::int64_t>(to_index(runtime, indent, "the indent of tojson"), 0);
            runtime.check_string_bytes(static_cast<std::size_t>(width));
            style.indent = tagged(std::string(static_cast<std::size_t>(width), ' '), true);
        }
    }
    style.item_separator = tagged(style.indented ? "," : ", ", true);
    style.key_separator = tagged(": ", true);
    if (!separators.is_missing() && !separators.is_none()) {
        const Value both = iterate(runtime, separators);
        const auto& items = items_of(both);
        if (items.size() != 2 || !items[0].is_string() || !items[1].is_string())
            runtime.fail("the separators of tojson must be two strings");
        style.item_separator = text_of(items[0]);
        style.key_separator = text_of(items[1]);
    }
    Dumper dumper(runtime, style);
    dumper.dump(operand, 0);
    return make_string(runtime, dumper.take());
}

}  // namespace narae::jinja
