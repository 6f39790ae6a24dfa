// Text that remembers where it comes from, so that a chat prompt can be tokenized with special tokens recognised only
// in what the template wrote, never in what a user wrote. Plain data; nothing here throws but for memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

// Bytes [begin, end) of a text. Trusted: written by the chat template or a special-token variable, so that special
// tokens in it are meant. Not trusted: from messages, tools or other variables of the request.
struct TextRun {
    std::size_t begin = 0, end = 0;
    bool trusted = false;

    bool operator==(const TextRun&) const = default;
};

// The runs are ordered, not empty, cover exactly the text, and neighbours differ in trust.
struct TaggedText {
    std::string text;
    std::vector<TextRun> runs;

    // Adds text at the end.
    void append(std::string_view part, bool trusted) {
        if (part.empty()) return;
        const std::size_t begin = text.size();
        text.append(part);
        if (!runs.empty() && runs.back().trusted == trusted) {
            runs.back().end = text.size();
        } else {
            runs.push_back({begin, text.size(), trusted});
        }
    }
};

}  // namespace narae
