#include "text/jinja/value.h"

#include "text/jinja/numbers.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace narae::jinja {
namespace {

constexpr std::size_t kIndexedDictSize = 9;  // smaller dicts are searched entry by entry

std::size_t mix(std::size_t seed, std::size_t hash) {
    return (seed ^ (hash + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2))) * 31;
}

std::size_t text_bytes(const TaggedText& text) { return text.text.capacity() + text.runs.capacity() * sizeof(TextRun); }

}  // namespace

Value CallArguments::take_keyword(std::string_view name) {
    const auto found =
        std::find_if(keywords.begin(), keywords.end(), [&](const auto& keyword) { return keyword.first == name; });
    if (found == keywords.end()) return Value();
    Value value = std::move(found->second);
    keywords.erase(found);
    return value;
}

StringObject::StringObject(Runtime& owner, TaggedText content, bool is_markup)
    : Object(owner, sizeof(*this) + text_bytes(content)),
      text(std::move(content)),
      code_points(count_code_points(text.text)),
      markup(is_markup) {}

void DictObject::set(const Value& key, const Value& value) {
    const std::size_t hash = hash_of(runtime, key);
    runtime.charge(entries.size() < kIndexedDictSize ? 4 : 12);
    if (const Value* there = find(key); there != nullptr) {
        const_cast<Value&>(*there) = value;
        return;
    }
    grow(sizeof(std::pair<Value, Value>) + (entries.size() + 1 >= kIndexedDictSize ? 48 : 0));
    entries.emplace_back(key, value);
    if (entries.size() < kIndexedDictSize) return;
    if (entries.size() == kIndexedDictSize) {
        for (std::size_t i = 0; i + 1 < entries.size(); ++i)
            index_.emplace(hash_of(runtime, entries[i].first), static_cast<std::uint32_t>(i));
    }
    index_.emplace(hash, static_cast<std::uint32_t>(entries.size() - 1));
}

const Value* DictObject::find(const Value& key) const {
    if (key.is_string()) return find(view_of(key));
    if (entries.size() < kIndexedDictSize) {
        hash_of(runtime, key);
        for (const auto& [name, value] : entries)
            if (equals(runtime, name, key)) return &value;
        return nullptr;
    }
    const auto [begin, end] = index_.equal_range(hash_of(runtime, key));
    for (auto it = begin; it != end; ++it)
        if (equals(runtime, entries[it->second].first, key)) return &entries[it->second].second;
    return nullptr;
}

const Value* DictObject::find(std::string_view key) const {
    const auto matches = [&](const Value& name) { return name.is_string() && view_of(name) == key; };
    if (entries.size() < kIndexedDictSize) {
        for (const auto& [name, value] : entries)
            if (matches(name)) return &value;
        return nullptr;
    }
    const auto [begin, end] = index_.equal_range(std::hash<std::string_view>()(key));
    for (auto it = begin; it != end; ++it)
        if (matches(entries[it->second].first)) return &entries[it->second].second;
    return nullptr;
}

void SpaceObject::drain(std::vector<Value>& into) {
    for (auto& [name, value] : attributes) into.push_back(std::move(value));
    attributes.clear();
    index_.clear();
}

void SpaceObject::set(std::string_view name, const Value& value) {
    if (const Value* there = find(name); there != nullptr) {
        const_cast<Value&>(*there) = value;
        return;
    }
    grow(sizeof(std::pair<std::string, Value>) + 64 + 2 * name.size());
    runtime.charge_object(8);
    attributes.emplace_back(name, value);
    index_.emplace(name, attributes.size() - 1);
}

const Value* SpaceObject::find(std::string_view name) const {
    const auto found = index_.find(std::string(name));
    return found != index_.end() ? &attributes[found->second].second : nullptr;
}

void EnvironmentObject::drain(std::vector<Value>& into) {
    for (Value& slot : slots) into.push_back(std::move(slot));
    into.push_back(std::move(parent));
}

Value make_string(Runtime& runtime, TaggedText text, bool markup) {
    runtime.check_string_bytes(text.text.size());
    runtime.charge_object(text.text.size() / 8);
    return Value(Type::string, new StringObject(runtime, std::move(text), markup));
}

Value make_string(Runtime& runtime, std::string_view text, bool trusted) {
    TaggedText tagged;
    tagged.append(text, trusted);
    return make_string(runtime, std::move(tagged));
}

Value make_list(Runtime& runtime, std::vector<Value> items, bool trusted) {
    runtime.charge_object(items.size());
    return Value(Type::list, new SequenceObject(runtime, std::move(items)), trusted);
}

Value make_tuple(Runtime& runtime, std::vector<Value> items, bool trusted) {
    runtime.charge_object(items.size());
    return Value(Type::tuple, new SequenceObject(runtime, std::move(items)), trusted);
}

Value make_undefined(Runtime& runtime, std::string reason) {
    runtime.charge_object();
    return Value(Type::undefined, new UndefinedObject(runtime, std::move(reason)));
}

Value make_function(Runtime& runtime, std::string_view name, Function function, Value self) {
    runtime.charge_object();
    return Value(Type::function, new FunctionObject(runtime, name, function, std::move(self)));
}

Value make_generator(Runtime& runtime, std::string_view type, std::function<std::vector<Value>()> produce) {
    runtime.charge_object(40);
    return Value(Type::generator, new GeneratorObject(runtime, type, std::move(produce)));
}

const TaggedText& text_of(const Value& string) { return string.as<StringObject>().text; }
std::string_view view_of(const Value& string) { return string.as<StringObject>().text.text; }
const std::vector<Value>& items_of(const Value& sequence) { return sequence.as<SequenceObject>().items; }

std::string_view type_name(const Value& value) {
    switch (value.type()) {
        case Type::missing:
        case Type::environment:
            break;
        case Type::undefined:
            return "Undefined";
        case Type::none:
            return "NoneType";
        case Type::boolean:
            return "bool";
        case Type::integer:
            return "int";
        case Type::real:
            return "float";
        case Type::string:
            return "str";
        case Type::list:
            return "list";
        case Type::tuple:
            return "tuple";
        case Type::dict:
            return "dict";
        case Type::space:
            return "Namespace";
        case Type::range:
            return "range";
        case Type::view: {
            constexpr std::string_view kNames[] = {"dict_keys", "dict_values", "dict_items"};
            return kNames[static_cast<int>(value.as<ViewObject>().kind)];
        }
        case Type::generator:
            return value.as<GeneratorObject>().type_name;
        case Type::macro:
            return "Macro";
        case Type::function:
            return "function";
        case Type::loop:
            return "LoopContext";
        case Type::cycler:
            return "Cycler";
        case Type::joiner:
            return "Joiner";
    }
    return "missing";
}

bool equals(Runtime& runtime, const Value& a, const Value& b) {
    runtime.charge();
    if (a.is_number() && b.is_number()) return compare_numbers(a, b) == std::partial_ordering::equivalent;
    if (a.type() != b.type()) return false;
    if (a.type() <= Type::none) return true;  // undefined equals undefined
    if (a.object() == b.object()) return true;
    switch (a.type()) {
        case Type::string:
            runtime.charge_bytes(std::min(view_of(a).size(), view_of(b).size()));
            return view_of(a) == view_of(b);
        case Type::list:
        case Type::tuple: {
            const auto &left = items_of(a), &right = items_of(b);
            if (left.size() != right.size()) return false;
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "values compared");
            return std::equal(left.begin(), left.end(), right.begin(),
                              [&](const Value& x, const Value& y) { return equals(runtime, x, y); });
        }
        case Type::dict: {
            const auto &left = a.as<DictObject>(), &right = b.as<DictObject>();
            if (left.entries.size() != right.entries.size()) return false;
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "values compared");
            return std::all_of(left.entries.begin(), left.entries.end(), [&](const auto& entry) {
                const Value* other = right.find(entry.first);
                return other != nullptr && equals(runtime, entry.second, *other);
            });
        }
        case Type::range: {
            const auto &left = a.as<RangeObject>(), &right = b.as<RangeObject>();
            return left.length == right.length &&
                   (left.length == 0 || (left.start == right.start && (left.length == 1 || left.step == right.step)));
        }
        default:
            return false;
    }
}

std::size_t hash_of(Runtime& runtime, const Value& value) {
    runtime.charge();
    switch (value.type()) {
        case Type::missing:
        case Type::undefined:
            return 1;
        case Type::none:
            return 2;
        case Type::boolean:
        case Type::integer:
            return std::hash<std::int64_t>()(value.as_integer());
        case Type::real: {
            const double real = value.as_real();
            const bool integral =
                real >= -0x1p63 && real < 0x1p63 && real == static_cast<double>(static_cast<std::int64_t>(real));
            return integral ? std::hash<std::int64_t>()(static_cast<std::int64_t>(real)) : std::hash<double>()(real);
        }
        case Type::string:
            runtime.charge_bytes(view_of(value).size());
            return std::hash<std::string_view>()(view_of(value));
        case Type::tuple: {
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "tuples");
            std::size_t hash = 3;
            for (const Value& item : items_of(value)) hash = mix(hash, hash_of(runtime, item));
            return hash;
        }
        case Type::range:
            return static_cast<std::size_t>(value.as<RangeObject>().length);
        case Type::list:
        case Type::dict:
        case Type::view:
            runtime.fail("unhashable type: '{}'", type_name(value));
        default:
            return std::hash<const void*>()(value.object());
    }
}

}  // namespace narae::jinja
