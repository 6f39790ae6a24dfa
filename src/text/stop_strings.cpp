#include "text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace narae {

StopStrings::StopStrings(std::vector<std::string> strings) {
    for (std::string& string : strings) {
        if (string.empty()) continue;
        Pattern pattern{std::move(string), {}, 0};
        pattern.border.resize(pattern.text.size() + 1);
        std::size_t length = 0;
        for (std::size_t n = 2; n <= pattern.text.size(); ++n) {
            while (length > 0 && pattern.text[length] != pattern.text[n - 1]) length = pattern.border[length];
            if (pattern.text[length] == pattern.text[n - 1]) ++length;
            pattern.border[n] = length;
        }
        patterns_.push_back(std::move(pattern));
    }
}

std::string StopStrings::push(std::string_view text) {
    if (found_) return {};
    for (const char byte : text) {
        held_ += byte;
        const Pattern* complete = nullptr;
        for (Pattern& pattern : patterns_) {
            while (pattern.matched > 0 && pattern.text[pattern.matched] != byte)
                pattern.matched = pattern.border[pattern.matched];
            if (pattern.text[pattern.matched] == byte) ++pattern.matched;
            if (pattern.matched == pattern.text.size() && (!complete || pattern.text.size() > complete->text.size()))
                complete = &pattern;
        }
        if (complete) {
            found_ = complete->text;
            std::string before = std::move(held_);
            before.resize(before.size() - complete->text.size());
            held_.clear();
            return before;
        }
    }
    std::size_t open = 0;
    for (const Pattern& pattern : patterns_) open = std::max(open, pattern.matched);
    // What is held back may begin within a character only where the stop string itself does.
    std::string certain = held_.substr(0, held_.size() - open);
    held_.erase(0, certain.size());
    return certain;
}

std::string StopStrings::finish() {
    std::string rest = found_ ? std::string() : std::exchange(held_, {});
    for (Pattern& pattern : patterns_) pattern.matched = 0;
    return rest;
}

}  // namespace narae
