// str() and repr() of values, byte for byte as Python writes them.
#include "text/jinja/operations.h"
#include "text/jinja/unicode.h"

namespace narae::jinja {
namespace {

class Printer {
public:
    explicit Printer(Runtime& runtime) : runtime_(runtime), result_(runtime) {}

    TaggedText take() { return result_.take(); }

    void repr(const Value& value) {
        switch (value.type()) {
            case Type::missing:
            case Type::environment:
                break;
            case Type::undefined:
                add("Undefined", true);
                break;
            case Type::none:
                add("None", value.trusted());
                break;
            case Type::boolean:
                add(value.as_boolean() ? "True" : "False", value.trusted());
                break;
            case Type::integer:
                add(fmt::format("{}", value.as_integer()), value.trusted());
                break;
            case Type::real:
                add(real_repr(value.as_real()), value.trusted());
                break;
            case Type::string: {
                const bool markup = value.as<StringObject>().markup;
                if (markup) add("Markup(", true);
                add(quoted(runtime_, text_of(value)));
                if (markup) add(")", true);
                break;
            }
            case Type::list:
                sequence("[", value, "]");
                break;
            case Type::tuple:
                sequence("(", value, items_of(value).size() == 1 ? ",)" : ")");
                break;
            case Type::dict:
                dict(value);
                break;
            case Type::space:
                space(value);
                break;
            case Type::range: {
                const auto& range = value.as<RangeObject>();
                add(range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                                    : fmt::format("range({}, {}, {})", range.start, range.stop, range.step),
                    true);
                break;
            }
            case Type::view: {
                add(fmt::format("{}(", type_name(value)), true);
                sequence("[", iterate(runtime_, value), "]");
                add(")", true);
                break;
            }
            case Type::macro: {
                const Value name = get_attribute(runtime_, value, "name");
                add(name.is_none() ? "<Macro anonymous>" : fmt::format("<Macro {}>", quoted(runtime_, text_of(name)).text),
                    true);
                break;
            }
            case Type::loop: {
                auto& loop = value.as<LoopObject>();
                add(fmt::format("<LoopContext {}/{}>", loop.index0 + 1, loop.length()), true);
                break;
            }
            case Type::generator:
                runtime_.fail(
                    "a generator is printed, found the result of a filter such as map or selectattr; put |list behind it");
            case Type::function:
            case Type::cycler:
            case Type::joiner:
                runtime_.fail("a '{}' object is printed, need a value; is a call missing?", type_name(value));
        }
    }

private:
    void add(std::string_view text, bool trusted) { result_.append(text, trusted); }
    void add(const TaggedText& text) { result_.append(text); }

    void sequence(std::string_view open, const Value& value, std::string_view close) {
        const DepthScope scope(runtime_, runtime_.value_depth, kMaxValueDepth, "values printed");
        add(open, value.trusted());
        bool first = true;
        for (const Value& item : items_of(value)) {
            if (!first) add(", ", value.trusted());
            first = false;
            repr(item);
        }
        add(close, value.trusted());
    }

    void dict(const Value& value) {
        const DepthScope scope(runtime_, runtime_.value_depth, kMaxValueDepth, "values printed");
        add("{", value.trusted());
        bool first = true;
        for (const auto& [key, item] : value.as<DictObject>().entries) {
            if (!first) add(", ", value.trusted());
            first = false;
            repr(key);
            add(": ", value.trusted());
            repr(item);
        }
        add("}", value.trusted());
    }

    void space(const Value& value) {
        const DepthScope scope(runtime_, runtime_.value_depth, kMaxValueDepth, "values printed");
        add("<Namespace {", true);
        bool first = true;
        for (const auto& [name, item] : value.as<SpaceObject>().attributes) {
            if (!first) add(", ", true);
            first = false;
            add(quoted(runtime_, tagged(name, true)));
            add(": ", true);
            repr(item);
        }
        add("}>", true);
    }

    Runtime& runtime_;
    TextBuilder result_;
};

}  // namespace

TaggedText quoted(Runtime& runtime, const TaggedText& text) {
    const char quote = text.text.find('\'') != std::string::npos && text.text.find('"') == std::string::npos ? '"' : '\'';
    const bool first = is_trusted_at(text, 0), last = text.text.empty() || is_trusted_at(text, text.text.size() - 1);
    const std::string_view mark(&quote, 1);
    TaggedText result = tagged(mark, first);
    append_part(result, map_code_points(runtime, text, [&](char32_t code, std::size_t, std::string& into) {
                    switch (code) {
                        case U'\n':
                            into.append("\\n");
                            return;
                        case U'\r':
                            into.append("\\r");
                            return;
                        case U'\t':
                            into.append("\\t");
                            return;
                        case U'\\':
                            into.append("\\\\");
                            return;
                        default:
                            break;
                    }
                    if (code == static_cast<char32_t>(quote)) {
                        into.push_back('\\');
                        into.push_back(quote);
                    } else if (is_printable(code)) {
                        encode(code, into);
                    } else {
                        append_escape(code < 0x100 ? 'x' : code < 0x10000 ? 'u' : 'U', code, into);
                    }
                }));
    result.append(mark, last);
    return result;
}

TaggedText to_repr(Runtime& runtime, const Value& value) {
    Printer printer(runtime);
    printer.repr(value);
    return printer.take();
}

TaggedText to_text(Runtime& runtime, const Value& value) {
    if (value.is_string()) {
        runtime.charge_bytes(view_of(value).size());
        return text_of(value);
    }
    if (value.is_undefined()) return {};
    return to_repr(runtime, value);
}

}  // namespace narae::jinja
