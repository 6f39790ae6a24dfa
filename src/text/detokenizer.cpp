#include "text/detokenizer.h"

#include "text/tokenizer.h"
#include "text/tokenizer/parts.h"
#include "text/tokenizer/token_decoder.h"

namespace narae {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer),
      decoder_(std::make_unique<TokenDecoder>(tokenizer.parts().decoder)),
      skip_special_(skip_special) {}
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::push(std::int32_t id) {
    std::string text;
    if (tokenizer_->is_token(id) && !(skip_special_ && tokenizer_->is_special(id))) decoder_->push(tokenizer_->piece(id), text);
    return text;
}

std::string Detokenizer::finish() {
    std::string text;
    decoder_->finish(text);
    return text;
}

}  // namespace narae
