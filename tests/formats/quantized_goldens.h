// The goldens of the formats with scales in buffers of their own: what the original libraries choose and unpack
// (tools/oracle/quantized_formats.py).
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "formats/format.h"
#include "formats/scales.h"
#include "support/support.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace narae::test {

inline DType dtype_of(const Json& name) { return find_dtype(name.get<std::string>()).value(); }

// The cases of one subject and their arrays.
class Goldens {
public:
    explicit Goldens(const std::string& subject)
        : bytes_(read_text_file(data_file("goldens/quantized/" + subject + ".bin"))),
          json_(parse_json(read_text_file(data_file("goldens/quantized/" + subject + ".json")), subject)) {}

    const Json& cases() const { return json_.at("cases"); }

    static bool has(const Json& golden, const char* name) { return golden.at("arrays").contains(name); }

    std::span<const std::byte> bytes(const Json& golden, const char* name) const {
        const Json& array = golden.at("arrays").at(name);
        std::size_t size = array.at("type").get<std::string>().at(1) - '0';
        for (const Json& dim : array.at("shape")) size *= dim.get<std::size_t>();
        return std::as_bytes(std::span(bytes_)).subspan(array.at("at").get<std::size_t>(), size);
    }

    template <class T>
    std::vector<T> array(const Json& golden, const char* name) const {
        const std::span<const std::byte> from = bytes(golden, name);
        NARAE_CHECK(golden.at("arrays").at(name).at("type").get<std::string>().at(1) - '0' == static_cast<int>(sizeof(T)),
                    "{}: elements of {} bytes", name, sizeof(T));
        std::vector<T> values(from.size() / sizeof(T));
        std::memcpy(values.data(), from.data(), from.size());
        return values;
    }

    static std::int64_t rows(const Json& golden, const char* name) {
        return golden.at("arrays").at(name).at("shape").at(0).get<std::int64_t>();
    }
    static std::int64_t columns(const Json& golden, const char* name) {
        return golden.at("arrays").at(name).at("shape").at(1).get<std::int64_t>();
    }

    // "rule bits ...": what to say when a case fails.
    static std::string name(const Json& golden) {
        Json shown = golden;
        shown.erase("arrays");
        return dump_json(shown);
    }

private:
    std::string bytes_;
    Json json_;
};

// [rows, columns] of a case; 0 stands for all.
inline Scaling scaling_of(const Json& golden, DType dtype) {
    const auto side = [&](std::size_t i) {
        const auto size = golden.at("block").at(i).get<std::int64_t>();
        return size == 0 ? kWhole : size;
    };
    return {.rows = side(0), .columns = side(1), .dtype = dtype};
}

// The values in a narrower type, by their bits. The libraries compute `code x scale` in the type of the model.
inline std::vector<std::byte> stored_as(DType dtype, std::span<const float> values) {
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(dtype_bits(dtype) / 8));
    for (std::size_t i = 0; i < values.size(); ++i) store_number(bytes, dtype, static_cast<std::int64_t>(i), values[i]);
    return bytes;
}

// Bytes as text, so that a failure shows the first one that differs.
inline std::string first_difference(std::span<const std::byte> found, std::span<const std::byte> expected) {
    if (found.size() != expected.size()) return fmt::format("{} bytes, expected {}", found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i)
        if (found[i] != expected[i])
            return fmt::format("byte {} is {:02x}, expected {:02x}", i, std::to_integer<int>(found[i]),
                               std::to_integer<int>(expected[i]));
    return "";
}

inline void put(std::span<std::byte> to, std::span<const std::byte> from) {
    NARAE_CHECK(to.size() == from.size(), "{} bytes into {}", from.size(), to.size());
    std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace narae::test
