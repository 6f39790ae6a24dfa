#include "cli/suggest.h"

#include <algorithm>

namespace narae::cli {

int edit_distance(std::string_view from, std::string_view to) {
    // Three rows of the table: two letters of `from` ago, one ago, now.
    std::vector<int> before_last(to.size() + 1), last(to.size() + 1), now(to.size() + 1);
    for (std::size_t j = 0; j <= to.size(); ++j) last[j] = static_cast<int>(j);
    for (std::size_t i = 1; i <= from.size(); ++i) {
        now[0] = static_cast<int>(i);
        for (std::size_t j = 1; j <= to.size(); ++j) {
            const bool same = from[i - 1] == to[j - 1];
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
                now[j] = std::min(now[j], before_last[j - 2] + 1);
        }
        std::swap(before_last, last);
        std::swap(last, now);
    }
    return last[to.size()];
}

std::string closest_name(std::string_view word, std::span<const std::string> names) {
    constexpr std::size_t kLongest = 64;
    if (word.empty() || word.size() > kLongest) return {};
    const int limit = std::max(1, static_cast<int>(word.size()) / 3);
    std::string best;
    int best_distance = limit + 1;
    for (const std::string& name : names) {
        const int distance = edit_distance(word, name);
        if (distance < best_distance) {
            best_distance = distance;
            best = name;
        }
    }
    if (!best.empty()) return best;
    const auto begins = std::ranges::find_if(names, [&](const std::string& name) { return name.starts_with(word); });
    return begins == names.end() ? std::string() : *begins;
}

}  // namespace narae::cli
