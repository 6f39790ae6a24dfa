// SHA-256 (FIPS 180-4): names texts, ids and weights in results, so that numbers are compared only where they belong together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace narae {

class Sha256 {
public:
    void update(std::span<const std::byte> bytes);
    void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
    // 64 lower-case hexadecimal digits; ends the object's use.
    std::string finish();

private:
    void block(const std::byte* bytes);

    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::byte, 64> rest_ = {};
    std::size_t held_ = 0;     // bytes in rest_
    std::uint64_t total_ = 0;  // bytes so far
};

std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

}  // namespace narae
