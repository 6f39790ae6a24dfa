// The byte-level alphabet of GPT-2: each byte as a printable character, so that a vocabulary is text. Bytes 0x21-0x7E,
// 0xA1-0xAC and 0xAE-0xFF are the character of the same number; the other 68, ascending, are U+0100 and on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace narae {

constexpr char32_t kByteLevelEnd = 0x144;  // one more than the largest character of the alphabet

char32_t byte_level_character(unsigned char byte);
std::optional<unsigned char> byte_level_byte(char32_t character);

// Appends the bytes of `text` in the alphabet.
void append_byte_level(std::string& out, std::string_view text);
// The bytes that a token stands for: all its characters are of the alphabet; otherwise the token's own bytes.
std::string byte_level_bytes(std::string_view token);

}  // namespace narae
