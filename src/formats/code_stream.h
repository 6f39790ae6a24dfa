// Codes of a few bits as one stream: code i of a row in bits i * bits ... of its bytes, lowest bit first, so that codes may lie
// across two bytes. A row begins at a byte.
#pragma once

#include <cstddef>
#include <cstdint>

namespace narae {

// Bytes of a row of codes of 1 to 8 bits; `codes * bits` must not overflow.
constexpr std::uint64_t code_stream_bytes(std::uint64_t codes, int bits) {
    return (codes * static_cast<std::uint64_t>(bits) + 7) / 8;
}

inline int load_code(const std::byte* row, std::int64_t index, int bits) {
    const std::int64_t bit = index * bits;
    const std::byte* at = row + bit / 8;
    const auto shift = static_cast<int>(bit % 8);
    int word = std::to_integer<int>(at[0]);
    if (shift + bits > 8) word |= std::to_integer<int>(at[1]) << 8;
    return word >> shift & ((1 << bits) - 1);
}

// Replaces the code; its neighbours stay as they are.
inline void store_code(std::byte* row, std::int64_t index, int bits, int code) {
    const std::int64_t bit = index * bits;
    std::byte* at = row + bit / 8;
    const auto shift = static_cast<int>(bit % 8);
    const int mask = ((1 << bits) - 1) << shift, placed = code << shift & mask;
    at[0] = static_cast<std::byte>((std::to_integer<int>(at[0]) & ~mask) | (placed & 0xff));
    if (shift + bits > 8) at[1] = static_cast<std::byte>((std::to_integer<int>(at[1]) & ~(mask >> 8)) | placed >> 8);
}

}  // namespace narae
