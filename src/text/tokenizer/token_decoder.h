// Decoders: from the texts of tokens to text, as a stream. Each step passes on at once what no later token can change, so
// decoding a whole list and decoding token by token are the same code and give the same text.
// DecoderSteps is immutable and shared; a TokenDecoder is one stream's state. Source: huggingface/tokenizers, decoders/.
#pragma once

#include "base/json.h"
#include "text/tokenizer/regex.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace narae {

struct DecodeByteLevel {};     // bytes of the byte-level alphabet; what is no UTF-8 becomes U+FFFD
struct DecodeByteFallback {};  // runs of <0xHH>: their text, or U+FFFD for each when they are none
struct DecodeFuse {};          // all tokens become one
struct DecodeJoin {};          // a space between tokens: what happens without a decoder
struct DecodeReplace {
    std::string pattern, content;
};
struct DecodeReplaceRegex {
    std::shared_ptr<const Regex> pattern;
    std::string content;
};
struct DecodeStrip {
    char32_t content;
    std::size_t start, stop;  // at most so many of it are removed at the ends of each token
};
struct DecodeMetaspace {
    char32_t replacement;
    bool drop_first;  // in the first token the replacement is no space but nothing
};
using DecoderStep = std::variant<DecodeByteLevel, DecodeByteFallback, DecodeFuse, DecodeJoin, DecodeReplace, DecodeReplaceRegex,
                                 DecodeStrip, DecodeMetaspace>;

class DecoderSteps {
public:
    // The "decoder" of tokenizer.json, or null. BadFileError naming `what`: an unknown or unsupported one.
    static DecoderSteps parse(const Json& json, std::string_view what);
    const std::vector<DecoderStep>& steps() const { return steps_; }

private:
    void add(const Json& json, std::string_view what, int depth);

    std::vector<DecoderStep> steps_;
};

class TokenDecoder {
public:
    // `steps` must outlive the decoder.
    explicit TokenDecoder(const DecoderSteps& steps);

    // Appends to `out` what has become certain. Texts are valid UTF-8, so is what comes out.
    void push(std::string_view token, std::string& out);
    // Appends the rest; the decoder is then as new.
    void finish(std::string& out);

private:
    enum class Event { begin, text, end };  // of a token; `text` may come in parts, at borders of characters
    struct State {
        std::string held;       // text of the token, or of a byte run, that cannot be passed on yet
        std::string bytes;      // open bytes of ByteLevel and ByteFallback
        std::size_t count = 0;  // Strip: removed at the start. Metaspace, Fuse, Join: tokens seen
        bool leading = false;   // Strip: nothing but removed characters so far
    };

    void feed(std::size_t stage, Event event, std::string_view text, std::string& out);
    void emit(std::size_t stage, std::string_view text, std::string& out);  // a whole token
    void finish_stage(std::size_t stage, std::string& out);

    void step(const DecodeByteLevel&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeByteFallback&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeFuse&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeJoin&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeReplace&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeReplaceRegex&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeStrip&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void step(const DecodeMetaspace&, std::size_t stage, Event event, std::string_view text, std::string& out);
    void flush_byte_run(std::size_t stage, std::string& out);

    const DecoderSteps* steps_;
    std::vector<State> states_;
};

// The byte of a byte token "<0xHH>", or -1.
int byte_token_value(std::string_view token);

}  // namespace narae
