// Token ids to text as they come. What the calls return, joined, is exactly Tokenizer::decode of all ids: never half a
// character, never a lost one. Text is held back only while later tokens may still change it: an incomplete character,
// an open run of byte tokens.
// One Detokenizer per sequence; the tokenizer must outlive it. Not to be shared between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace narae {

class Tokenizer;
class TokenDecoder;

class Detokenizer {
public:
    explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);
    Detokenizer(Detokenizer&&) noexcept;
    Detokenizer& operator=(Detokenizer&&) noexcept;
    ~Detokenizer();

    // The text that has become certain with this token; often empty, never part of a character.
    std::string push(std::int32_t id);
    // What was held back; an incomplete character becomes U+FFFD. The object can be used for a new sequence afterwards.
    std::string finish();

private:
    const Tokenizer* tokenizer_;
    std::unique_ptr<TokenDecoder> decoder_;
    bool skip_special_;
};

}  // namespace narae
