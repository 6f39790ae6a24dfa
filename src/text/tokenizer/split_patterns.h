// Matchers, written by hand, for the regular expressions by which well-known tokenizers cut text into pieces. Each gives
// exactly the pieces of its expression, in linear time.
#pragma once

#include <cstddef>
#include <string_view>

namespace narae {

// The end of the piece that begins at text[at] (valid UTF-8, at < text.size()). The pieces cover the text.
using PieceEnd = std::size_t (*)(std::string_view text, std::size_t at);

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_piece_end(std::string_view text, std::size_t at);

// The matcher for an expression that is written exactly so, or nullptr: GPT-2, Llama 3, Qwen 2, Qwen 3.5.
PieceEnd find_split_pattern(std::string_view regex);

// What the expression means in PCRE2's syntax, where that differs: BLOOM's class within a class.
std::string_view portable_regex(std::string_view regex);

inline constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen35Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace narae
