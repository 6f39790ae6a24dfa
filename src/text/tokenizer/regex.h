// Regular expressions of tokenizer files, by PCRE2 with Unicode properties and with limits on what a match may cost.
// A Regex is immutable; its functions may run concurrently.
#pragma once

#include "base/function_ref.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace narae {

class Regex {
public:
    // BadFileError naming `what`: a pattern that does not compile, is longer than 16 KiB, or uses what PCRE2 and
    // Oniguruma (whose meaning the file expects) read differently: classes within classes and their intersection.
    Regex(std::string_view pattern, std::string_view what);
    Regex(Regex&&) noexcept;
    Regex& operator=(Regex&&) noexcept;
    ~Regex();

    // Calls `match` with the byte range of each match that is not empty, from left to right. `text` is valid UTF-8.
    // ResourceError when a match exceeds its limits.
    void for_each(std::string_view text, FunctionRef<void(std::size_t begin, std::size_t end)> match) const;

private:
    struct Code;
    std::unique_ptr<Code> code_;
};

}  // namespace narae
