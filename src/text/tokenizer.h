// Text to token ids and back, exactly as Hugging Face's tokenizers library does it for the same tokenizer.json.
// A Tokenizer is made from tokenizer.json (with tokenizer_config.json beside it) or from a GGUF file's vocabulary; it
// copies what it needs, so neither has to stay. It is immutable: every const function may run concurrently.
// Kinds: BPE, byte-level or over characters with byte fallback (which covers converted SentencePiece BPE). WordPiece,
// WordLevel and Unigram models are refused with BadFileError.
// Sources: huggingface/tokenizers (tokenizer.json, added tokens, order of the steps), transformers (which keys of
// tokenizer_config.json override it), llama.cpp (the meaning of tokenizer.ggml.* keys).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narae {

struct TaggedText;

struct EncodeOptions {
    bool add_special = true;    // what the post-processor adds: BOS, EOS
    bool parse_special = true;  // false: text never becomes a special token ("<s>" is three characters)
};

// A vocabulary as GGUF metadata holds it (keys tokenizer.ggml.*). When a tokenizer is made from it, the views have to
// be valid only until from_gguf returns; when to_gguf made it, `storage` keeps them valid.
struct GgufVocabulary {
    std::string model;  // tokenizer.ggml.model: gpt2, llama
    std::string pre;    // tokenizer.ggml.pre: gpt-2, llama-bpe, qwen2, smollm, ...; empty when absent
    std::vector<std::string_view> tokens;
    std::vector<std::string_view> merges;   // "left right"; empty for model llama
    std::vector<std::int32_t> token_types;  // GgufTokenType, or empty: all normal
    std::vector<float> scores;              // or empty; needed for model llama
    std::optional<std::int32_t> bos, eos, unknown, padding, eot, eom;
    std::optional<bool> add_bos, add_eos, add_space_prefix;
    std::shared_ptr<const void> storage;
};

enum class GgufTokenType : std::int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

class Tokenizer {
public:
    // `tokenizer_config_json` may be empty. `what` names the tokenizer in errors. BadFileError: not JSON, wrong types,
    // an id or a token twice, merges of unknown tokens, an unsupported kind or step.
    static Tokenizer from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json, std::string_view what);
    static Tokenizer from_gguf(const GgufVocabulary& vocabulary, std::string_view what);

    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    // UsageError when the text is not valid UTF-8 or is longer than 1 GiB.
    std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
    // The same ids as for text.text, but for special tokens: they are recognised only where they lie wholly in trusted
    // runs, so that nothing in an untrusted run ever becomes one.
    std::vector<std::int32_t> encode(const TaggedText& text, EncodeOptions options = {}) const;

    // Valid UTF-8 always: bytes that are none become U+FFFD. Ids that name no token give nothing.
    std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;

    // One more than the largest id; some ids below may name no token.
    std::int32_t vocabulary_size() const;
    bool is_token(std::int32_t id) const;
    // Marked special (BOS, EOS, <|im_start|>, ...): left out by decode(ids, skip_special = true). False for no token.
    bool is_special(std::int32_t id) const;
    // The token as its file writes it ("Ġworld", "<|im_end|>"), valid UTF-8; a view that lives as long as the tokenizer.
    // Empty for no token.
    std::string_view piece(std::int32_t id) const;
    // The bytes of text that the token stands for; may be part of a character.
    std::string token_bytes(std::int32_t id) const;
    // The id of a piece.
    std::optional<std::int32_t> find(std::string_view piece) const;

    std::optional<std::int32_t> bos() const;
    std::optional<std::int32_t> eos() const;
    // Ids after which generation ends, ascending: EOS, and of a GGUF file also its end of turn and end of message.
    std::span<const std::int32_t> end_of_generation() const;
    // bos_token, eos_token, pad_token, unk_token, ... with their texts, for chat templates; only those that exist.
    const std::vector<std::pair<std::string, std::string>>& special_tokens() const;

    // The same tokenizer as tokenizer.json (transformers and tokenizers load it with equal ids), and the
    // tokenizer_config.json that belongs to it, with `chat_template` when it is not empty.
    std::string to_tokenizer_json() const;
    std::string to_tokenizer_config_json(std::string_view chat_template = {}) const;
    // The same tokenizer as GGUF metadata, filled with unused tokens up to `rows` (the rows of the embedding) when that is
    // more than there are. UsageError when GGUF has no name for its steps.
    GgufVocabulary to_gguf(std::size_t rows = 0) const;

    struct Parts;  // the steps, in text/tokenizer/parts.h
    explicit Tokenizer(std::unique_ptr<const Parts> parts);
    const Parts& parts() const { return *parts_; }

private:
    std::unique_ptr<const Parts> parts_;
};

}  // namespace narae
