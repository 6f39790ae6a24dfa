#include "checkpoint/split_name.h"

#include <fmt/format.h>

#include <charconv>

namespace narae {
namespace {

constexpr std::size_t kDigits = 5;

// The number that the text's last five characters write, which are taken away.
std::optional<std::int64_t> take_number(std::string_view& text) {
    if (text.size() < kDigits) return std::nullopt;
    const std::string_view digits = text.substr(text.size() - kDigits);
    if (digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
    std::int64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    text.remove_suffix(kDigits);
    return value;
}

bool take_ending(std::string_view& text, std::string_view ending) {
    if (!text.ends_with(ending)) return false;
    text.remove_suffix(ending.size());
    return true;
}

}  // namespace

std::string split_name(std::string_view stem, std::int64_t index, std::int64_t count, std::string_view ending) {
    return fmt::format("{}-{:05}-of-{:05}{}", stem, index, count, ending);
}

std::optional<SplitName> parse_split_name(std::string_view name, std::string_view ending) {
    if (!take_ending(name, ending)) return std::nullopt;
    const auto count = take_number(name);
    if (!count || !take_ending(name, "-of-")) return std::nullopt;
    const auto index = take_number(name);
    if (!index || !take_ending(name, "-") || *index < 1 || *index > *count) return std::nullopt;
    return SplitName{std::string(name), *index, *count};
}

}  // namespace narae
