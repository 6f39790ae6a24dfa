#include "base/json.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace narae {
namespace {

constexpr std::size_t kDepthLimit = 64;

// Walks the text and tells where the parser is, which nlohmann's events do not.
struct TrackedIterator {
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    const char* at;
    const char** reached;

    reference operator*() const { return *at; }
    TrackedIterator& operator++() {
        *reached = ++at;
        return *this;
    }
    TrackedIterator operator++(int) {
        TrackedIterator before = *this;
        ++*this;
        return before;
    }
    bool operator==(const TrackedIterator& other) const { return at == other.at; }
    bool operator!=(const TrackedIterator& other) const { return at != other.at; }
};

std::string position(std::string_view text, std::size_t offset) {
    const std::string_view before = text.substr(0, offset);
    const std::size_t line = static_cast<std::size_t>(std::ranges::count(before, '\n')) + 1;
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0
    return fmt::format("line {}, column {}", line, before.size() - line_start + 1);
}

// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..." -> "syntax error ..."
std::string plain_reason(std::string_view message) {
    if (const std::size_t end = message.find("] "); end != std::string_view::npos) message.remove_prefix(end + 2);
    constexpr std::string_view kPlace = "parse error at line ";
    if (message.starts_with(kPlace))
        if (const std::size_t end = message.find(": "); end != std::string_view::npos) message.remove_prefix(end + 2);
    return std::string(message);
}

// Receives the parser's events and builds the document. Members are appended without a search, so that an object of
// many keys costs n log n, and duplicates are found when it closes.
class Builder {
public:
    Builder(std::string_view text, std::string_view what) : text_(text), what_(what), reached_(text.data()) {}

    Json build() {
        const TrackedIterator begin{text_.data(), &reached_}, end{text_.data() + text_.size(), &reached_};
        Json::sax_parse(begin, end, this);
        return std::move(root_);
    }

    bool null() { return add(nullptr); }
    bool boolean(bool value) { return add(value); }
    bool number_integer(Json::number_integer_t value) { return add(value); }
    bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
    bool number_float(Json::number_float_t value, const std::string& digits) {
        if (!std::isfinite(value)) fail(fmt::format("the number {} is too large", digits));
        return add(value);
    }
    bool string(std::string& value) { return add(std::move(value)); }
    bool binary(Json::binary_t&) { return false; }  // not in text

    bool start_object(std::size_t) { return open(Json::object()); }
    bool key(std::string& value) {
        key_ = std::move(value);
        return true;
    }
    bool end_object() {
        check_duplicates();
        return close();
    }
    bool start_array(std::size_t) { return open(Json::array()); }
    bool end_array() { return close(); }

    bool parse_error(std::size_t offset, const std::string&, const nlohmann::detail::exception& error) {
        fail_at(std::min(offset, text_.size()), plain_reason(error.what()));
    }

private:
    struct Frame {
        Json value;
        std::string key;  // under which the value goes into its parent
    };

    [[noreturn]] void fail_at(std::size_t end, const std::string& reason) {
        throw_error<BadFileError>("{}: {}: {}", what_, position(text_, end == 0 ? 0 : end - 1), reason);
    }
    [[noreturn]] void fail(const std::string& reason) { fail_at(static_cast<std::size_t>(reached_ - text_.data()), reason); }

    bool open(Json value) {
        if (open_.size() == kDepthLimit) fail(fmt::format("nested deeper than {} levels", kDepthLimit));
        open_.push_back({std::move(value), std::move(key_)});
        return true;
    }

    bool close() {
        Frame frame = std::move(open_.back());
        open_.pop_back();
        key_ = std::move(frame.key);
        return add(std::move(frame.value));
    }

    bool add(Json value) {
        if (open_.empty()) {
            root_ = std::move(value);
        } else if (Json& parent = open_.back().value; parent.is_array()) {
            parent.get_ref<Json::array_t&>().push_back(std::move(value));
        } else {
            static_cast<Json::object_t::Container&>(parent.get_ref<Json::object_t&>())
                .emplace_back(std::move(key_), std::move(value));
        }
        return true;
    }

    void check_duplicates() {
        std::vector<std::string_view> keys;
        for (const auto& member : open_.back().value.get_ref<const Json::object_t&>()) keys.push_back(member.first);
        std::ranges::sort(keys);
        if (const auto twice = std::ranges::adjacent_find(keys); twice != keys.end())
            fail(fmt::format("the object that ends here has the key \"{}\" twice", *twice));
    }

    std::string_view text_, what_;
    const char* reached_;
    std::vector<Frame> open_;
    std::string key_;
    Json root_;
};

std::string shown(const Json& value) {
    constexpr std::size_t kShownBytes = 60;
    if (value.is_object()) return "an object";
    if (value.is_array()) return "an array";
    std::string text = dump_json(value);
    if (text.size() <= kShownBytes) return text;
    std::size_t cut = kShownBytes;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // not inside a UTF-8 character
    return text.substr(0, cut) + "...";
}

// The member, or nullptr when it is absent or null.
const Json* find(const Json& object, std::string_view key, std::string_view what) {
    if (!object.is_object()) throw_error<BadFileError>("{}: found {}, need an object", what, shown(object));
    const auto member = object.find(key);
    return member == object.end() || member->is_null() ? nullptr : &*member;
}

[[noreturn]] void wrong_type(const Json& value, std::string_view key, std::string_view what, std::string_view need) {
    throw_error<BadFileError>("{}: \"{}\": found {}, need {}", what, key, shown(value), need);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what) {
    // A view without memory has no pointer to count from.
    return Builder(text.data() ? text : std::string_view(""), what).build();
}

std::optional<std::int64_t> get_int(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (!value) return std::nullopt;
    if (value->is_number_unsigned()) {
        const auto number = value->get<std::uint64_t>();
        if (number <= static_cast<std::uint64_t>(INT64_MAX)) return static_cast<std::int64_t>(number);
    } else if (value->is_number_integer()) {
        return value->get<std::int64_t>();
    } else if (value->is_number_float()) {
        const double number = value->get<double>();
        if (number == std::trunc(number) && number >= -0x1p63 && number < 0x1p63) return static_cast<std::int64_t>(number);
    }
    wrong_type(*value, key, what, "a whole number of at most 64 bits");
}

std::optional<double> get_double(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (!value) return std::nullopt;
    if (!value->is_number()) wrong_type(*value, key, what, "a number");
    return value->get<double>();
}

std::optional<bool> get_bool(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) wrong_type(*value, key, what, "true or false");
    return value->get<bool>();
}

std::optional<std::string> get_string(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (!value) return std::nullopt;
    if (!value->is_string()) wrong_type(*value, key, what, "a string");
    return value->get<std::string>();
}

const Json* get_object(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (value && !value->is_object()) wrong_type(*value, key, what, "an object");
    return value;
}

const Json* get_array(const Json& object, std::string_view key, std::string_view what) {
    const Json* value = find(object, key, what);
    if (value && !value->is_array()) wrong_type(*value, key, what, "an array");
    return value;
}

std::string dump_json(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace narae
