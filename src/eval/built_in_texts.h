// Texts that are part of the program: data/eval/*.txt, made into an array when narae is built.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace narae::eval {

struct BuiltInText {
    std::string_view name, text;
};

inline constexpr std::size_t kBuiltInTextCount = 2;
extern const std::array<BuiltInText, kBuiltInTextCount> kBuiltInTexts;

}  // namespace narae::eval
