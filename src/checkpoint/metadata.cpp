#include "base/error.h"
#include "checkpoint/byte_reader.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narae {
namespace {

using Type = Metadata::Type;

bool is_integer(Type type) {
    switch (type) {
        case Type::u8:
        case Type::i8:
        case Type::u16:
        case Type::i16:
        case Type::u32:
        case Type::i32:
        case Type::u64:
        case Type::i64:
            return true;
        default:
            return false;
    }
}

// The integer at `at`; nothing for a u64 that int64 cannot hold.
std::optional<std::int64_t> load_integer(Type type, const std::byte* at) {
    switch (type) {
        case Type::u8:
            return load_number<std::uint8_t>(at);
        case Type::i8:
            return load_number<std::int8_t>(at);
        case Type::u16:
            return load_number<std::uint16_t>(at);
        case Type::i16:
            return load_number<std::int16_t>(at);
        case Type::u32:
            return load_number<std::uint32_t>(at);
        case Type::i32:
            return load_number<std::int32_t>(at);
        case Type::i64:
            return load_number<std::int64_t>(at);
        default:
            break;
    }
    const auto value = load_number<std::uint64_t>(at);
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(value);
}

std::string describe(const Metadata::Value& value) {
    if (value.type != Type::array) return std::string(metadata_type_name(value.type));
    return fmt::format("an array of {}", metadata_type_name(value.element));
}

[[noreturn]] void wrong_type(const Metadata& metadata, std::string_view key, const Metadata::Value& value,
                             std::string_view need) {
    throw_error<BadFileError>("{}: metadata \"{}\": found {}, need {}", metadata.what, key, describe(value), need);
}

std::int64_t checked_integer(const Metadata& metadata, std::string_view key, Type type, const std::byte* at) {
    const auto value = load_integer(type, at);
    if (!value)
        throw_error<BadFileError>("{}: metadata \"{}\": {} is out of range, need at most {}", metadata.what, key,
                                  load_number<std::uint64_t>(at), std::numeric_limits<std::int64_t>::max());
    return *value;
}

const Metadata::Value* find_array(const Metadata& metadata, std::string_view key, bool (*fits)(Type element),
                                  std::string_view need) {
    const Metadata::Value* value = metadata.find(key);
    if (value && (value->type != Type::array || !fits(value->element))) wrong_type(metadata, key, *value, need);
    return value;
}

}  // namespace

std::string_view metadata_type_name(Type type) {
    static constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                  "bool", "string", "array", "u64", "i64", "f64"};
    const auto index = static_cast<std::size_t>(type);
    return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::uint64_t metadata_type_bytes(Type type) {
    switch (type) {
        case Type::u8:
        case Type::i8:
        case Type::boolean:
            return 1;
        case Type::u16:
        case Type::i16:
            return 2;
        case Type::u32:
        case Type::i32:
        case Type::f32:
            return 4;
        case Type::u64:
        case Type::i64:
        case Type::f64:
            return 8;
        default:
            return 0;
    }
}

const Metadata::Value* Metadata::find(std::string_view key) const {
    const auto entry = std::ranges::find(entries_, key, &Entry::key);
    return entry == entries_.end() ? nullptr : &entry->value;
}

std::optional<std::int64_t> Metadata::get_int(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (!is_integer(value->type)) wrong_type(*this, key, *value, "an integer");
    return checked_integer(*this, key, value->type, value->bytes.data());
}

std::optional<double> Metadata::get_double(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    double number = 0;
    if (value->type == Type::f32) {
        number = load_number<float>(value->bytes.data());
    } else if (value->type == Type::f64) {
        number = load_number<double>(value->bytes.data());
    } else if (is_integer(value->type)) {
        number = static_cast<double>(checked_integer(*this, key, value->type, value->bytes.data()));
    } else {
        wrong_type(*this, key, *value, "a number");
    }
    if (!std::isfinite(number))
        throw_error<BadFileError>("{}: metadata \"{}\": found {}, need a finite number", what, key, number);
    return number;
}

std::optional<bool> Metadata::get_bool(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (value->type != Type::boolean) wrong_type(*this, key, *value, "bool");
    return value->bytes[0] != std::byte{0};
}

std::optional<std::string_view> Metadata::get_string(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (value->type != Type::string) wrong_type(*this, key, *value, "string");
    return std::string_view(reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size());
}

std::optional<std::vector<std::string_view>> Metadata::get_strings(std::string_view key) const {
    const Value* value = find_array(
        *this, key, [](Type element) { return element == Type::string; }, "an array of string");
    if (!value) return std::nullopt;
    std::vector<std::string_view> strings;
    strings.reserve(value->count);
    const std::byte* at = value->bytes.data();  // walked and checked when the file was opened
    for (std::uint64_t i = 0; i < value->count; ++i) {
        const auto length = load_number<std::uint64_t>(at);
        strings.emplace_back(reinterpret_cast<const char*>(at + sizeof length), length);
        at += sizeof length + length;
    }
    return strings;
}

std::optional<std::vector<std::int64_t>> Metadata::get_ints(std::string_view key) const {
    const Value* value = find_array(*this, key, is_integer, "an array of integers");
    if (!value) return std::nullopt;
    std::vector<std::int64_t> numbers(value->count);
    const std::uint64_t width = metadata_type_bytes(value->element);
    for (std::uint64_t i = 0; i < value->count; ++i)
        numbers[i] = checked_integer(*this, key, value->element, value->bytes.data() + i * width);
    return numbers;
}

std::optional<std::vector<float>> Metadata::get_floats(std::string_view key) const {
    const Value* value = find_array(
        *this, key, [](Type element) { return element == Type::f32; }, "an array of f32");
    if (!value) return std::nullopt;
    std::vector<float> numbers(value->count);
    if (!numbers.empty()) std::memcpy(numbers.data(), value->bytes.data(), value->bytes.size());
    return numbers;
}

}  // namespace narae
