// A text as a protocol wants it: read, joined, tokenized once, and named by its hashes.
#pragma once

#include "base/file.h"
#include "eval/protocol.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace narae::eval {

struct Corpus {
    std::string name;              // the file, or "english (built in)"
    std::string file_sha256;       // of the file's bytes
    std::string text_sha256;       // of the text that was tokenized
    std::uint64_t text_bytes = 0;  // of it
    std::vector<std::int32_t> ids;
    std::string ids_sha256;  // of the ids as little-endian int32
    bool starts_with_bos = false;
};

// The texts that come with the program: "english", "korean".
std::vector<std::string_view> built_in_texts();
// The text of a built-in name; nothing for another.
std::optional<std::string_view> built_in_text(std::string_view name);

// `what`: the name of a built-in text, otherwise a file. UsageError: not UTF-8, empty. llama.cpp-512 drops one line end at the
// end of the file, as llama-perplexity does.
Corpus load_corpus(const std::string& what, const ProtocolSettings& settings, const Tokenizer& tokenizer);

// Whether the tokenizer puts BOS before a text.
bool adds_bos(const Tokenizer& tokenizer);

std::string ids_sha256(std::span<const std::int32_t> ids);

}  // namespace narae::eval
