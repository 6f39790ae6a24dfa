#include "text/tokenizer/byte_level.h"

#include "text/unicode.h"

namespace narae {
namespace {

struct Tables {
    std::array<char32_t, 256> character{};
    std::array<std::int16_t, kByteLevelEnd> byte{};
};

constexpr Tables make_tables() {
    Tables tables;
    for (std::int16_t& byte : tables.byte) byte = -1;
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
        tables.character[static_cast<std::size_t>(byte)] = character;
        tables.byte[character] = static_cast<std::int16_t>(byte);
    }
    return tables;
}

constexpr Tables kTables = make_tables();
static_assert(kTables.character[0xAD] == kByteLevelEnd - 1);

}  // namespace

char32_t byte_level_character(unsigned char byte) { return kTables.character[byte]; }

std::optional<unsigned char> byte_level_byte(char32_t character) {
    if (character >= kByteLevelEnd || kTables.byte[character] < 0) return std::nullopt;
    return static_cast<unsigned char>(kTables.byte[character]);
}

void append_byte_level(std::string& out, std::string_view text) {
    for (const char byte : text) {
        const char32_t character = kTables.character[static_cast<unsigned char>(byte)];
        if (character < 0x80) {
            out += static_cast<char>(character);
        } else {
            out += static_cast<char>(0xC0 | character >> 6);
            out += static_cast<char>(0x80 | (character & 0x3F));
        }
    }
}

std::string byte_level_bytes(std::string_view token) {
    std::string bytes;
    bytes.reserve(token.size());
    for (std::size_t at = 0; at < token.size();) {
        const unicode::Decoded d = unicode::decode(token, at);
        const std::optional<unsigned char> byte = byte_level_byte(d.code_point);
        if (!byte) return std::string(token);
        bytes += static_cast<char>(*byte);
        at += d.length;
    }
    return bytes;
}

}  // namespace narae
