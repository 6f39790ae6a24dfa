// What a template may use. A template is a program from an untrusted file: everything it can make grow is bounded here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace narae::jinja {

inline constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxTokens = 200'000;
inline constexpr std::size_t kMaxArguments = 1000;          // keywords of a call, parameters of a macro
inline constexpr int kMaxNesting = 128;                     // statements and expressions inside each other, while parsing
inline constexpr int kMaxChain = 1000;                      // terms of one chain such as a + b + c, or .x.y.z
inline constexpr int kMaxMacroDepth = 64;                   // macro calls inside macro calls
inline constexpr int kMaxDepth = 1500;                      // evaluations inside each other, over all macros
inline constexpr int kMaxValueDepth = 200;                  // lists in lists that are printed, compared or hashed
inline constexpr std::uint64_t kMaxSteps = 10'000'000;      // of about 20 ns each
inline constexpr std::uint64_t kMaxScopeSteps = 3'000'000;  // names looked at while scopes are resolved
inline constexpr std::int64_t kMaxRange = 100'000;
inline constexpr std::size_t kMaxStringBytes = std::size_t{16} << 20;  // one string, and the whole output
inline constexpr std::size_t kMaxLiveBytes = std::size_t{36} << 20;    // all values and buffers alive at once

}  // namespace narae::jinja
