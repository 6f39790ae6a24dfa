// What the structure-aware mutators share: a random source and numbers at which readers of files go wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t limit);

namespace narae::fuzz {

class Choice {
public:
    explicit Choice(unsigned seed) : random_(seed) {}

    // 0 to count - 1.
    std::size_t below(std::size_t count) { return count == 0 ? 0 : random_() % count; }
    bool one_in(std::size_t count) { return below(count) == 0; }

    // A number near a border: of a type, of `size`, or small.
    std::uint64_t border(std::uint64_t size) {
        const std::uint64_t borders[] = {0,          1,          2,          8,          31,         32,
                                         63,         64,         255,        256,        size,       size / 2,
                                         1ULL << 16, 1ULL << 20, 1ULL << 26, 1ULL << 30, 1ULL << 31, 1ULL << 32,
                                         1ULL << 61, 1ULL << 62, 1ULL << 63, ~0ULL};
        return borders[below(std::size(borders))] + below(3) - 1;
    }

private:
    std::minstd_rand random_;
};

// libFuzzer's own mutations of a text, at most `limit` bytes long.
inline std::string mutated(std::string text, std::size_t limit) {
    const std::size_t size = text.size();
    text.resize(limit > size ? limit : size);
    if (text.empty()) return text;
    text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, text.size()));
    return text;
}

// Copies a mutator's result into libFuzzer's buffer.
inline std::size_t put(std::string_view text, std::uint8_t* data, std::size_t limit) {
    const std::size_t size = text.size() < limit ? text.size() : limit;
    if (size > 0) std::memcpy(data, text.data(), size);
    return size;
}

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const std::byte*>(data), size};
}

// Every byte that a reader promises is read, so that a sanitizer sees a wrong promise.
inline void touch(std::span<const std::byte> bytes) {
    static volatile unsigned sum = 0;
    unsigned part = 0;
    for (const std::byte byte : bytes) part += static_cast<unsigned>(byte);
    sum = sum + part;
}

}  // namespace narae::fuzz
