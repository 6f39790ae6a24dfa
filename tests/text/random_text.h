// Random valid UTF-8 over eight scripts, mixed with spaces, digits, punctuation, marks and rare characters.
#pragma once

#include "text/unicode.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>

namespace narae::test {

class RandomText {
public:
    explicit RandomText(std::uint32_t seed) : engine_(seed) {}

    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(engine_() % limit); }

    std::string operator()(std::size_t characters) {
        constexpr std::array<std::pair<char32_t, char32_t>, 8> kScripts = {{{0x41, 0x7A},
                                                                            {0xAC00, 0xD7A3},
                                                                            {0x4E00, 0x9FA5},
                                                                            {0x410, 0x44F},
                                                                            {0x620, 0x64A},
                                                                            {0x905, 0x94D},
                                                                            {0xE01, 0xE4E},
                                                                            {0x1F600, 0x1F64F}}};
        constexpr char32_t kBetween[] = {' ',   ' ',    ' ',    '\n',   '\r',   '\t',   '\'',  '\'',   's',    'T',
                                         'L',   'r',    'e',    '.',    ',',    '-',    '1',   '2',    '9',    0xA0,
                                         0x85,  0x17F,  0x200B, 0x2028, 0x3000, 0x301,  0x323, 0x1161, 0x11AB, 0xBD,
                                         0x663, 0x20AC, 0x5F,   0xFFFD, 0xFEFF, 0x2581, 0x130, 0xDF,   0x24B6, 0};
        std::string text;
        std::size_t script = 0;
        while (characters-- > 0) {
            if (below(4) == 0) script = below(kScripts.size());
            const auto [low, high] = kScripts[script];
            unicode::append(text, below(3) == 0 ? kBetween[below(std::size(kBetween))]
                                                : low + static_cast<char32_t>(below(static_cast<std::size_t>(high - low + 1))));
        }
        return text;
    }

private:
    std::mt19937 engine_;
};

}  // namespace narae::test
