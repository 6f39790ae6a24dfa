// Names of the files of one model: STEM-00001-of-00003.ENDING.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace narae {

inline constexpr std::int64_t kMostSplits = 65535;

struct SplitName {
    std::string stem;
    std::int64_t index = 0;  // from 1
    std::int64_t count = 0;
};

std::string split_name(std::string_view stem, std::int64_t index, std::int64_t count, std::string_view ending = ".gguf");
// Nothing when the name is not of this form.
std::optional<SplitName> parse_split_name(std::string_view name, std::string_view ending = ".gguf");

}  // namespace narae
