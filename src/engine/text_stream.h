// Chosen tokens to visible text: detokenizes as they come and cuts at stop strings. One per sequence.
#pragma once

#include "text/detokenizer.h"
#include "text/stop_strings.h"

#include <cstdint>
#include <string>
#include <vector>

namespace narae {

class TextStream {
public:
    // skip_special: special tokens give no text.
    TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special)
        : detokenizer_(tokenizer, skip_special), stop_(std::move(stop)) {}

    std::string push(std::int32_t token) { return stop_.push(detokenizer_.push(token)); }
    // After the last token: what was held back.
    std::string finish() {
        std::string text = stop_.push(detokenizer_.finish());
        if (!stopped()) text += stop_.finish();
        return text;
    }
    bool stopped() const { return stop_.found().has_value(); }
    const std::optional<std::string>& stop_string() const { return stop_.found(); }

private:
    Detokenizer detokenizer_;
    StopStrings stop_;
};

}  // namespace narae
