// tokenizer.json, and after a zero byte tokenizer_config.json: any bytes are refused with BadFileError or make a tokenizer
// that encodes, decodes as a stream what it decodes as a whole, and can be written and read again with the same ids (unless an
// added token had to become a word of the model to keep its id: then it is written the same a second time).
#include "base/error.h"
#include "base/json.h"
#include "text/detokenizer.h"
#include "text/tagged_text.h"
#include "text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kText = " The wing's <s> 나래\u1112\u1161\u11AB 123\n\n\tx</s> \u00E9 a  b<|im_end|> ▁";

// The words of the model of a tokenizer.json; null where it is not read like that.
narae::Json words_of(std::string_view tokenizer_json) {
    try {
        return narae::parse_json(tokenizer_json, "fuzz").at("model").at("vocab");
    } catch (const std::exception&) {
        return nullptr;
    }
}

void exercise(const narae::Tokenizer& tokenizer, std::string_view source) {
    const std::vector<std::int32_t> ids = tokenizer.encode(kText);
    narae::TaggedText tagged;
    tagged.append(kText.substr(0, 20), false);
    tagged.append(kText.substr(20), true);
    (void)tokenizer.encode(tagged);
    narae::Detokenizer detokenizer(tokenizer, true);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += detokenizer.push(id);
    streamed += detokenizer.finish();
    NARAE_CHECK(streamed == tokenizer.decode(ids, true), "streamed '{}'", streamed);
    for (std::int32_t id = -1; id <= tokenizer.vocabulary_size() && id < 512; ++id) (void)tokenizer.token_bytes(id);

    const std::string written = tokenizer.to_tokenizer_json();
    const narae::Tokenizer again = narae::Tokenizer::from_json(written, tokenizer.to_tokenizer_config_json("{{ x }}"), "again");
    NARAE_CHECK(again.to_tokenizer_json() == written, "written twice, it differs");
    const narae::Json before = words_of(source), after = words_of(written);
    if (before.size() == after.size()) NARAE_CHECK(again.encode(kText) == ids, "written and read again, the ids differ");
    try {
        (void)narae::Tokenizer::from_gguf(tokenizer.to_gguf(), "gguf");
    } catch (const narae::Error&) {  // not everything can be said in GGUF
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::size_t zero = bytes.find('\0');
    const std::string_view config = zero == std::string_view::npos ? std::string_view() : bytes.substr(zero + 1);
    std::optional<narae::Tokenizer> tokenizer;
    try {
        tokenizer = narae::Tokenizer::from_json(bytes.substr(0, zero), config, "fuzz");
    } catch (const narae::BadFileError&) {
        return 0;
    }
    try {
        exercise(*tokenizer, bytes.substr(0, zero));
    } catch (const narae::ResourceError&) {  // a regular expression gave up
    }
    return 0;
}
