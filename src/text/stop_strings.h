// Cuts generated text at the first stop string, wherever the borders of tokens lie. Text that may still turn out to be
// the beginning of a stop string is held back. Plain value; one per sequence; not to be shared between threads.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

class StopStrings {
public:
    StopStrings() = default;
    // Empty strings are ignored.
    explicit StopStrings(std::vector<std::string> strings);

    // Adds text and returns what no stop string can reach any more. After a stop it returns nothing.
    std::string push(std::string_view text);
    // What was held back, when generation ended without a stop string.
    std::string finish();

    // The stop string that was found: the one that is complete first and, of those that end together, the longest.
    // The text is cut before it.
    const std::optional<std::string>& found() const { return found_; }

private:
    // Matching is Knuth, Morris and Pratt's for each string: the work is proportional to the text times the strings.
    struct Pattern {
        std::string text;
        std::vector<std::size_t> border;  // border[n]: the longest proper border of the first n bytes
        std::size_t matched = 0;
    };
    std::vector<Pattern> patterns_;
    std::string held_;
    std::optional<std::string> found_;
};

}  // namespace narae
