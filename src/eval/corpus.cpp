#include "eval/corpus.h"

#include "base/error.h"
#include "base/sha256.h"
#include "eval/built_in_texts.h"
#include "text/unicode.h"

namespace narae::eval {

std::vector<std::string_view> built_in_texts() {
    std::vector<std::string_view> names;
    for (const BuiltInText& text : kBuiltInTexts) names.push_back(text.name);
    return names;
}

std::optional<std::string_view> built_in_text(std::string_view name) {
    for (const BuiltInText& text : kBuiltInTexts)
        if (text.name == name) return text.text;
    return std::nullopt;
}

bool adds_bos(const Tokenizer& tokenizer) {
    const std::vector<std::int32_t> ids = tokenizer.encode("a");
    return tokenizer.bos() && !ids.empty() && ids.front() == *tokenizer.bos();
}

std::string ids_sha256(std::span<const std::int32_t> ids) { return sha256_hex(std::as_bytes(ids)); }

Corpus load_corpus(const std::string& what, const ProtocolSettings& settings, const Tokenizer& tokenizer) {
    Corpus corpus;
    std::string text;
    if (const auto built_in = built_in_text(what)) {
        corpus.name = what + " (built in)";
        text = *built_in;
    } else {
        corpus.name = what;
        text = read_text_file(what, std::uint64_t{1} << 30);
    }
    if (!unicode::is_valid(text))
        throw_error<UsageError>("{}: not valid UTF-8 at byte {}; convert it first, for example with iconv", corpus.name,
                                unicode::valid_prefix(text));
    corpus.file_sha256 = sha256_hex(text);
    if (settings.rows == Rows::lines) text = join_lines(text);
    if (settings.protocol == Protocol::llamacpp_512 && text.ends_with('\n')) text.pop_back();
    corpus.text_sha256 = sha256_hex(text);
    corpus.text_bytes = text.size();
    corpus.ids = tokenizer.encode(text, {.add_special = true, .parse_special = settings.parse_special});
    corpus.starts_with_bos = tokenizer.bos() && !corpus.ids.empty() && corpus.ids.front() == *tokenizer.bos();
    corpus.ids_sha256 = ids_sha256(corpus.ids);
    return corpus;
}

}  // namespace narae::eval
