// Reads little-endian numbers and strings out of bytes that nobody has checked. Every read is bounded by the bytes left;
// a read past the end is BadFileError naming the file, the field and the offset. Owns nothing.
#pragma once

#include "base/error.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace narae {

static_assert(std::endian::native == std::endian::little, "model files are read as they lie in memory");

// A number at any address.
template <class T>
requires(std::is_arithmetic_v<T>) T load_number(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// What is being read, for messages: `part` of `owner`.
struct FieldName {
    std::string_view part;
    std::string_view owner = {};

    std::string to_string() const { return owner.empty() ? std::string(part) : fmt::format("{} of \"{}\"", part, owner); }
};

class ByteReader {
public:
    ByteReader(std::span<const std::byte> bytes, std::string_view what) : bytes_(bytes), what_(what) {}

    std::uint64_t offset() const { return offset_; }
    std::uint64_t left() const { return bytes_.size() - offset_; }
    std::string_view what() const { return what_; }

    std::span<const std::byte> take(std::uint64_t count, FieldName field) {
        if (count > left()) [[unlikely]]
            fail_short(count, field);
        const auto part = bytes_.subspan(offset_, count);
        offset_ += count;
        return part;
    }

    template <class T>
    T number(FieldName field) {
        return load_number<T>(take(sizeof(T), field).data());
    }

    // A string as GGUF stores it: 64-bit length, then the bytes.
    std::string_view string(std::uint64_t limit, FieldName field) {
        const auto length = number<std::uint64_t>(field);
        if (length > limit) [[unlikely]]
            throw_error<BadFileError>("{}: {} at offset {}: a string of {} bytes, need at most {}", what_, field.to_string(),
                                      offset_ - sizeof length, length, limit);
        const auto part = take(length, field);
        return {reinterpret_cast<const char*>(part.data()), part.size()};
    }

    // `count` strings one after another, as one part: of a vocabulary's tens of thousands only the lengths are looked at.
    std::span<const std::byte> strings(std::uint64_t count, std::uint64_t limit, FieldName field) {
        const std::uint64_t begin = offset_;
        const std::byte* const data = bytes_.data();
        std::uint64_t at = offset_;
        for (; count > 0; --count) {
            if (bytes_.size() - at < sizeof(std::uint64_t)) [[unlikely]]
                break;
            const auto length = load_number<std::uint64_t>(data + at);
            if (length > limit || length > bytes_.size() - at - sizeof length) [[unlikely]]
                break;
            at += sizeof length + length;
        }
        offset_ = at;
        if (count > 0) string(limit, field);  // throws: says what is wrong with this one
        return bytes_.subspan(begin, offset_ - begin);
    }

private:
    [[noreturn]] void fail_short(std::uint64_t count, FieldName field) const {
        throw_error<BadFileError>(
            "{}: {} at offset {}: needs {} bytes, the file has {} more; it is truncated or damaged, fetch it again", what_,
            field.to_string(), offset_, count, left());
    }

    std::span<const std::byte> bytes_;
    std::string_view what_;
    std::uint64_t offset_ = 0;
};

}  // namespace narae
