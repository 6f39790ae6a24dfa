#include "text/jinja/operations.h"

#include "text/jinja/methods.h"
#include "text/jinja/string_format.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace narae::jinja {
namespace {

// As Python's slice.indices(): where to start, and how many items there are.
struct SliceBounds {
    std::int64_t start = 0, step = 1, count = 0;
};

SliceBounds slice_bounds(Runtime& runtime, std::int64_t size, const Value& start, const Value& stop, const Value& step) {
    const auto given = [](const Value& value) { return !value.is_missing() && !value.is_none(); };
    SliceBounds bounds;
    if (given(step)) bounds.step = std::clamp(to_index(runtime, step, "a slice"), -size - 1, size + 1);
    if (bounds.step == 0) runtime.fail("slice step cannot be zero");
    const bool backwards = bounds.step < 0;
    const auto clamp = [&](const Value& value, std::int64_t otherwise) {
        if (!given(value)) return otherwise;
        std::int64_t index = to_index(runtime, value, "a slice");
        if (index < 0) index = std::max(index + size, backwards ? std::int64_t{-1} : std::int64_t{0});
        return std::min(index, backwards ? size - 1 : size);
    };
    bounds.start = clamp(start, backwards ? size - 1 : 0);
    const std::int64_t end = clamp(stop, backwards ? -1 : size);
    if (backwards) {
        if (end < bounds.start) bounds.count = (bounds.start - end - 1) / -bounds.step + 1;
    } else if (bounds.start < end) {
        bounds.count = (end - bounds.start - 1) / bounds.step + 1;
    }
    return bounds;
}

Value slice_string(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step) {
    const auto& string = value.as<StringObject>();
    const auto bounds = slice_bounds(runtime, static_cast<std::int64_t>(string.code_points), start, stop, step);
    const std::string_view text = string.text.text;
    const bool ascii = string.code_points == text.size();
    if (!ascii) runtime.charge_scan(text.size());
    if (bounds.step == 1) {
        const auto first = static_cast<std::size_t>(bounds.start), last = static_cast<std::size_t>(bounds.start + bounds.count);
        const std::size_t begin = ascii ? first : byte_of(text, first), end = ascii ? last : byte_of(text, last);
        return make_string(runtime, part(string.text, begin, end), string.markup);
    }
    std::vector<std::size_t> starts;
    if (!ascii) {
        for (std::size_t at = 0; at < text.size(); decode(text, at)) starts.push_back(at);
    }
    TaggedText result;
    for (std::int64_t i = 0, index = bounds.start; i < bounds.count; ++i, index += bounds.step) {
        runtime.charge();
        std::size_t end = ascii ? static_cast<std::size_t>(index) : starts[static_cast<std::size_t>(index)];
        const std::size_t begin = end;
        decode(text, end);
        append_part(result, string.text, begin, end);
    }
    return make_string(runtime, std::move(result), string.markup);
}

std::string object_type(const Value& value) { return value.is_none() ? "None" : fmt::format("{} object", type_name(value)); }

Value code_point_at(Runtime& runtime, const Value& string, std::int64_t index) {
    const auto& object = string.as<StringObject>();
    const std::string_view text = object.text.text;
    std::size_t begin = static_cast<std::size_t>(index);
    if (object.code_points != text.size()) {
        runtime.charge_scan(text.size());
        begin = byte_of(text, begin);
    }
    std::size_t end = begin;
    decode(text, end);
    return make_string(runtime, part(object.text, begin, end), object.markup);
}

// The item at an integer index of something ordered, or missing.
Value item_at(Runtime& runtime, const Value& value, std::int64_t index) {
    const std::int64_t size = length(runtime, value);
    if (index < 0) index += size;
    if (index < 0 || index >= size) return Value();
    if (value.is_string()) return code_point_at(runtime, value, index);
    if (value.is_sequence()) return items_of(value)[static_cast<std::size_t>(index)];
    const auto& range = value.as<RangeObject>();
    return Value::integer(range.start + index * range.step);
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t times) {
    times = std::max<std::int64_t>(times, 0);
    const auto count = static_cast<std::size_t>(times);
    if (value.is_string()) {
        const TaggedText& text = text_of(value);
        std::size_t bytes = 0;
        if (__builtin_mul_overflow(text.text.size(), count, &bytes)) bytes = SIZE_MAX;
        runtime.check_string_bytes(bytes);
        runtime.charge_bytes(bytes);
        if (bytes == 0) return make_string(runtime, TaggedText{}, value.as<StringObject>().markup);
        TextBuilder result(runtime);
        if (text.runs.size() > 1) {
            for (std::size_t i = 0; i < count; ++i) result.append(text);
        } else {
            std::string block = text.text;  // of about 4 KiB, so that the copies are long
            while (block.size() < 4096 && block.size() < bytes) block += text.text;
            for (std::size_t left = bytes; left > 0; left -= std::min(left, block.size()))
                result.append(std::string_view(block).substr(0, left), text.runs[0].trusted);
        }
        return make_string(runtime, result.take(), value.as<StringObject>().markup);
    }
    const auto& items = items_of(value);
    std::size_t size = 0;
    if (__builtin_mul_overflow(items.size(), count, &size) || size > kMaxLiveBytes / sizeof(Value))
        runtime.fail("a list of {} items repeated {} times is too long", items.size(), times);
    std::vector<Value> result;
    result.reserve(size);
    for (std::size_t i = 0; i < count && !items.empty(); ++i) result.insert(result.end(), items.begin(), items.end());
    return value.is(Type::list) ? make_list(runtime, std::move(result)) : make_tuple(runtime, std::move(result));
}

Value concatenate(Runtime& runtime, const Value& a, const Value& b) {
    if (a.is_string()) {
        const bool safe_a = a.as<StringObject>().markup, safe_b = b.as<StringObject>().markup;
        runtime.check_string_bytes(view_of(a).size() + view_of(b).size());
        TaggedText result = safe_b && !safe_a ? html_escaped(runtime, text_of(a)) : text_of(a);
        append_part(result, safe_a && !safe_b ? html_escaped(runtime, text_of(b)) : text_of(b));
        return make_string(runtime, std::move(result), safe_a || safe_b);
    }
    const auto &left = items_of(a), &right = items_of(b);
    std::vector<Value> items;
    items.reserve(left.size() + right.size());
    items.insert(items.end(), left.begin(), left.end());
    items.insert(items.end(), right.begin(), right.end());
    return a.is(Type::list) ? make_list(runtime, std::move(items)) : make_tuple(runtime, std::move(items));
}

}  // namespace

bool truth(const Value& value) {
    switch (value.type()) {
        case Type::missing:
        case Type::undefined:
        case Type::none:
            return false;
        case Type::boolean:
        case Type::integer:
            return value.as_integer() != 0;
        case Type::real:
            return value.as_real() != 0;
        case Type::string:
            return !view_of(value).empty();
        case Type::list:
        case Type::tuple:
            return !items_of(value).empty();
        case Type::dict:
            return !value.as<DictObject>().entries.empty();
        case Type::range:
            return value.as<RangeObject>().length != 0;
        case Type::view:
            return truth(value.as<ViewObject>().dict);
        default:
            return true;
    }
}

void fail_undefined(Runtime& runtime, const Value& undefined) { runtime.fail_with(undefined.as<UndefinedObject>().reason); }

Value no_attribute(Runtime& runtime, const Value& value, std::string_view name) {
    return make_undefined(runtime, fmt::format("'{}' has no attribute '{}'", object_type(value), name));
}

std::int64_t to_index(Runtime& runtime, const Value& value, std::string_view what) {
    if (!value.is_integral()) runtime.fail("{} needs an integer, not {}", what, type_name(value));
    return value.as_integer();
}

bool is_iterable(const Value& value) {
    switch (value.type()) {
        case Type::undefined:
        case Type::string:
        case Type::list:
        case Type::tuple:
        case Type::dict:
        case Type::range:
        case Type::view:
        case Type::generator:
            return true;
        default:
            return false;
    }
}

Value iterate(Runtime& runtime, const Value& value) {
    std::vector<Value> items;
    switch (value.type()) {
        case Type::undefined:
            break;
        case Type::list:
        case Type::tuple:
            return value;
        case Type::string: {
            const TaggedText& text = text_of(value);
            const bool markup = value.as<StringObject>().markup;
            for (std::size_t at = 0; at < text.text.size();) {
                const std::size_t begin = at;
                decode(text.text, at);
                items.push_back(make_string(runtime, part(text, begin, at), markup));
            }
            break;
        }
        case Type::dict:
            for (const auto& [key, item] : value.as<DictObject>().entries) items.push_back(key);
            break;
        case Type::range: {
            const auto& range = value.as<RangeObject>();
            items.reserve(static_cast<std::size_t>(range.length));
            for (std::int64_t i = 0; i < range.length; ++i) items.push_back(Value::integer(range.start + i * range.step));
            break;
        }
        case Type::view: {
            const auto& view = value.as<ViewObject>();
            for (const auto& [key, item] : view.dict.as<DictObject>().entries) {
                items.push_back(view.kind == ViewObject::Kind::keys     ? key
                                : view.kind == ViewObject::Kind::values ? item
                                                                        : make_tuple(runtime, {key, item}));
            }
            break;
        }
        case Type::generator: {
            auto& generator = value.as<GeneratorObject>();
            if (!generator.started) {
                const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
                generator.started = true;
                generator.items = generator.produce();
                generator.produce = nullptr;
            }
            items.assign(generator.items.begin() + static_cast<std::ptrdiff_t>(generator.position), generator.items.end());
            generator.position = generator.items.size();
            break;
        }
        default:
            runtime.fail("'{}' object is not iterable", type_name(value));
    }
    return make_list(runtime, std::move(items));
}

bool has_length(const Value& value) { return value.is(Type::loop) || (is_iterable(value) && !value.is(Type::generator)); }

std::int64_t length(Runtime& runtime, const Value& value) {
    switch (value.type()) {
        case Type::undefined:
            return 0;
        case Type::string:
            return static_cast<std::int64_t>(value.as<StringObject>().code_points);
        case Type::list:
        case Type::tuple:
            return static_cast<std::int64_t>(items_of(value).size());
        case Type::dict:
            return static_cast<std::int64_t>(value.as<DictObject>().entries.size());
        case Type::range:
            return value.as<RangeObject>().length;
        case Type::view:
            return length(runtime, value.as<ViewObject>().dict);
        case Type::loop:
            return static_cast<std::int64_t>(value.as<LoopObject>().length());
        default:
            runtime.fail("object of type '{}' has no len()", type_name(value));
    }
}

bool is_hashable(Runtime& runtime, const Value& value) {
    runtime.charge();
    switch (value.type()) {
        case Type::list:
        case Type::dict:
        case Type::view:
            return false;
        case Type::tuple: {
            const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "tuples");
            const auto& items = items_of(value);
            return std::all_of(items.begin(), items.end(), [&](const Value& item) { return is_hashable(runtime, item); });
        }
        default:
            return true;
    }
}

Value own_attribute(Runtime& runtime, const Value& value, std::string_view name) {
    if (name.starts_with('_')) return Value();
    switch (value.type()) {
        case Type::space: {
            const Value* found = value.as<SpaceObject>().find(name);
            return found != nullptr ? *found : Value();
        }
        case Type::loop: {
            Value attribute = loop_attribute(runtime, value, name);
            if (!attribute.is_missing()) return attribute;
            break;
        }
        case Type::cycler:
            if (name == "current") return value.as<CyclerObject>().items[value.as<CyclerObject>().position];
            break;
        case Type::macro:
            return macro_attribute(runtime, value, name);
        case Type::tuple:
            if (value.as<SequenceObject>().is_group && (name == "grouper" || name == "list"))
                return items_of(value)[name == "list" ? 1 : 0];
            break;
        default:
            break;
    }
    return find_method(runtime, value, name);
}

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
    runtime.charge();
    if (value.is_undefined()) fail_undefined(runtime, value);
    Value own = own_attribute(runtime, value, name);
    if (!own.is_missing()) return own;
    if (value.is(Type::dict)) {
        if (const Value* found = value.as<DictObject>().find(name); found != nullptr) return *found;
    }
    return no_attribute(runtime, value, name);
}

Value get_item(Runtime& runtime, const Value& value, const Value& key) {
    runtime.charge();
    switch (value.type()) {
        case Type::undefined:
            fail_undefined(runtime, value);
        case Type::dict:
            if (is_hashable(runtime, key)) {
                if (const Value* found = value.as<DictObject>().find(key); found != nullptr) return *found;
            }
            break;
        case Type::string:
        case Type::list:
        case Type::tuple:
        case Type::range:
            if (key.is_integral()) {
                Value item = item_at(runtime, value, key.as_integer());
                if (!item.is_missing()) return item;
            }
            break;
        default:
            break;
    }
    if (key.is_string()) {
        Value own = own_attribute(runtime, value, view_of(key));
        if (!own.is_missing()) return own;
        return no_attribute(runtime, value, view_of(key));
    }
    return make_undefined(runtime, fmt::format("{} has no element {}", object_type(value), to_repr(runtime, key).text));
}

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step) {
    if (value.is_undefined()) fail_undefined(runtime, value);
    if (value.is_string()) return slice_string(runtime, value, start, stop, step);
    if (value.is(Type::range)) {
        const auto& range = value.as<RangeObject>();
        const auto bounds = slice_bounds(runtime, range.length, start, stop, step);
        const std::int64_t first = range.start + bounds.start * range.step, stride = range.step * bounds.step;
        return Value(Type::range, new RangeObject(runtime, first, first + bounds.count * stride, stride, bounds.count));
    }
    if (!value.is_sequence()) runtime.fail("'{}' object is not subscriptable", type_name(value));
    const auto& items = items_of(value);
    const auto bounds = slice_bounds(runtime, static_cast<std::int64_t>(items.size()), start, stop, step);
    std::vector<Value> result;
    result.reserve(static_cast<std::size_t>(bounds.count));
    for (std::int64_t i = 0, index = bounds.start; i < bounds.count; ++i, index += bounds.step)
        result.push_back(items[static_cast<std::size_t>(index)]);
    return value.is(Type::list) ? make_list(runtime, std::move(result)) : make_tuple(runtime, std::move(result));
}

bool contains(Runtime& runtime, const Value& container, const Value& needle) {
    switch (container.type()) {
        case Type::string:
            if (!needle.is_string()) runtime.fail("'in <string>' requires string as left operand, not {}", type_name(needle));
            runtime.charge_bytes(view_of(container).size());
            return find_text(view_of(container), view_of(needle), 0) != std::string_view::npos;
        case Type::dict:
            if (!is_hashable(runtime, needle)) runtime.fail("unhashable type: '{}'", type_name(needle));
            return container.as<DictObject>().find(needle) != nullptr;
        case Type::view:
            if (container.as<ViewObject>().kind == ViewObject::Kind::keys)
                return contains(runtime, container.as<ViewObject>().dict, needle);
            break;
        default:
            break;
    }
    if (!is_iterable(container)) runtime.fail("argument of type '{}' is not iterable", type_name(container));
    const Value items = iterate(runtime, container);
    const auto& list = items_of(items);
    return std::any_of(list.begin(), list.end(), [&](const Value& item) { return equals(runtime, item, needle); });
}

std::partial_ordering order(Runtime& runtime, const Value& a, const Value& b) {
    runtime.charge();
    if (a.is_undefined()) fail_undefined(runtime, a);
    if (b.is_undefined()) fail_undefined(runtime, b);
    if (a.is_number() && b.is_number()) return compare_numbers(a, b);
    if (a.is_string() && b.is_string()) {
        runtime.charge_bytes(std::min(view_of(a).size(), view_of(b).size()));
        return view_of(a).compare(view_of(b)) <=> 0;
    }
    if (a.type() != b.type() || !a.is_sequence())
        runtime.fail("order is not defined between instances of '{}' and '{}'", type_name(a), type_name(b));
    const DepthScope scope(runtime, runtime.value_depth, kMaxValueDepth, "values compared");
    const auto &left = items_of(a), &right = items_of(b);
    for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
        if (!equals(runtime, left[i], right[i])) return order(runtime, left[i], right[i]);
    return left.size() <=> right.size();
}

// A plain merge sort: it stays within bounds also for keys, such as NaN, that are in no order.
std::vector<Value> sorted(Runtime& runtime, const std::vector<Value>& items, const std::vector<Value>& keys, bool reverse) {
    std::vector<std::size_t> indices(items.size()), merged(items.size());
    for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = reverse ? indices.size() - 1 - i : i;
    for (std::size_t width = 1; width < indices.size(); width *= 2) {
        for (std::size_t begin = 0; begin < indices.size(); begin += 2 * width) {
            const std::size_t middle = std::min(begin + width, indices.size()),
                              end = std::min(begin + 2 * width, indices.size());
            std::size_t left = begin, right = middle;
            for (std::size_t at = begin; at < end; ++at) {
                const bool takes_right =
                    right < end && (left == middle || order(runtime, keys[indices[right]], keys[indices[left]]) < 0);
                merged[at] = indices[takes_right ? right++ : left++];
            }
        }
        indices.swap(merged);
    }
    if (reverse) std::reverse(indices.begin(), indices.end());
    std::vector<Value> result;
    result.reserve(items.size());
    for (const std::size_t index : indices) result.push_back(items[index]);
    return result;
}

Value arithmetic(Runtime& runtime, Arithmetic operation, const Value& a, const Value& b) {
    if (a.is_number() && b.is_number()) return calculate(runtime, operation, a, b);
    if (operation == Arithmetic::modulo && a.is_string()) return format_percent(runtime, a, b);
    if (a.is_undefined()) fail_undefined(runtime, a);
    if (b.is_undefined()) fail_undefined(runtime, b);
    if (operation == Arithmetic::add && a.type() == b.type() && (a.is_string() || a.is_sequence()))
        return concatenate(runtime, a, b);
    if (operation == Arithmetic::multiply) {
        if ((a.is_string() || a.is_sequence()) && b.is_integral()) return repeat(runtime, a, b.as_integer());
        if ((b.is_string() || b.is_sequence()) && a.is_integral()) return repeat(runtime, b, a.as_integer());
    }
    constexpr std::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};
    runtime.fail("unsupported operand types for {}: '{}' and '{}'", kSigns[static_cast<int>(operation)], type_name(a),
                 type_name(b));
}

Value escaped(Runtime& runtime, const Value& value) {
    if (value.is_string() && value.as<StringObject>().markup) return value;
    return make_string(runtime, html_escaped(runtime, to_text(runtime, value)), true);
}

}  // namespace narae::jinja
