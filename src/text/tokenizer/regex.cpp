#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer/regex.h"

#include "base/error.h"

#include <pcre2.h>

#include <algorithm>

namespace narae {
namespace {

constexpr std::size_t kLongestPattern = 16 << 10;
constexpr std::uint32_t kMatchSteps = 10'000'000, kHeapKibibytes = 256 << 10;

// Finds a class within a class ("[a[bc]]") or an intersection ("[a&&b]").
bool has_nested_class(std::string_view pattern) {
    bool within = false;
    for (std::size_t at = 0; at < pattern.size(); ++at) {
        const char c = pattern[at];
        if (c == '\\') {
            ++at;
        } else if (!within) {
            if (c != '[') continue;
            within = true;
            if (at + 1 < pattern.size() && pattern[at + 1] == '^') ++at;
            if (at + 1 < pattern.size() && pattern[at + 1] == ']') ++at;
        } else if (c == ']') {
            within = false;
        } else if (c == '[') {
            const std::size_t end = pattern.substr(at).starts_with("[:") ? pattern.find(":]", at) : std::string_view::npos;
            if (end == std::string_view::npos) return true;
            at = end + 1;
        } else if (pattern.substr(at).starts_with("&&")) {
            return true;
        }
    }
    return false;
}

std::string message(int error) {
    char text[160];
    return pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text) < 0 ? "unknown error" : text;
}

template <auto free>
struct Freed {
    template <class T>
    void operator()(T* object) const {
        free(object);
    }
};

}  // namespace

struct Regex::Code {
    std::string pattern;
    std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code;
    std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> limits;
};

Regex::Regex(std::string_view pattern, std::string_view what) : code_(std::make_unique<Code>()) {
    if (pattern.size() > kLongestPattern)
        throw_error<BadFileError>("{}: a regular expression has {} bytes, need at most {}", what, pattern.size(),
                                  kLongestPattern);
    if (has_nested_class(pattern))
        throw_error<BadFileError>("{}: the regular expression '{}' has a class within a class, which is not supported", what,
                                  pattern);
    code_->pattern = pattern;
    std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>> context(pcre2_compile_context_create(nullptr));
    code_->limits.reset(pcre2_match_context_create(nullptr));
    if (!context || !code_->limits) throw std::bad_alloc();
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context.get(), 64);
    int error = 0;
    std::size_t offset = 0;
    code_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                    context.get()));
    if (!code_->code)
        throw_error<BadFileError>("{}: the regular expression '{}' is wrong at byte {}: {}", what, pattern, offset,
                                  message(error));
    pcre2_set_match_limit(code_->limits.get(), kMatchSteps);
    pcre2_set_heap_limit(code_->limits.get(), kHeapKibibytes);
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

void Regex::for_each(std::string_view text, FunctionRef<void(std::size_t, std::size_t)> match) const {
    std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data(
        pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
    if (!data) throw std::bad_alloc();
    const std::size_t* range = pcre2_get_ovector_pointer(data.get());
    for (std::size_t at = 0; at < text.size();) {
        const int result = pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                       PCRE2_NO_UTF_CHECK, data.get(), code_->limits.get());
        if (result == PCRE2_ERROR_NOMATCH) return;
        if (result < 0)
            throw_error<ResourceError>("the tokenizer's regular expression '{}' gave up on this text at byte {}: {}",
                                       code_->pattern, at, message(result));
        const std::size_t begin = range[0], end = range[1];
        if (end > begin && begin >= at) {
            match(begin, end);
            at = end;
        } else {  // an empty match: go on after the next character
            at = std::max(at, end) + 1;
            while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
        }
    }
}

}  // namespace narae
