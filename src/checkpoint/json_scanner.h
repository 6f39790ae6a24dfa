// Reads a JSON document of known form from its start to its end, without building a tree: the headers of safetensors files
// may have 100 MB, and nothing may cost more memory than the file justifies. Strict RFC 8259.
// Every fault is BadFileError naming the document and the byte.
#pragma once

#include "base/error.h"
#include "base/function_ref.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace narae {

class JsonScanner {
public:
    // BadFileError when the text is not valid UTF-8.
    JsonScanner(std::string_view text, std::string_view what);

    // Calls `member` with each key; it must read the value. The view is valid until the next read of a string.
    void object(FunctionRef<void(std::string_view key)> member);
    // Calls `element` for each; it must read it.
    void array(FunctionRef<void()> element);
    // A view of the text, or of a buffer that the next string overwrites.
    std::string_view string();
    std::uint64_t whole_number();  // 0 to 2^64 - 1, written without point or exponent
    bool take_null();              // reads null when it is there
    void skip();                   // any value, nested at most 64 levels
    void end();                    // only white space is left

    [[noreturn]] void fail(std::string_view reason) const;

private:
    void skip_space();
    char peek();  // the next character that is no white space; 0 at the end
    void expect(char character);
    bool take(char character);
    void take_word(std::string_view word);
    void skip_number();
    void unescape();
    std::uint32_t hexadecimal4();
    void skip_nested(int depth);

    std::string_view text_, what_;
    std::size_t at_ = 0;
    std::string scratch_;
};

}  // namespace narae
