#include "text/tokenizer.h"

#include "base/error.h"
#include "text/tagged_text.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/parts.h"
#include "text/unicode.h"

#include <algorithm>

namespace narae {
namespace {

constexpr std::size_t kLongestText = std::size_t{1} << 30;

// Where special tokens may be recognised: everywhere, nowhere, or in trusted runs.
class Trust {
public:
    Trust(const std::vector<TextRun>* runs, bool parse_special) : runs_(runs), parse_special_(parse_special) {}

    bool by_run() const { return parse_special_ && runs_; }
    bool operator()(std::size_t begin, std::size_t end) const {
        if (!parse_special_ || !runs_) return parse_special_;
        // Neighbouring runs differ in trust, so a trusted stretch lies within one run.
        const auto run = run_at(begin);
        return run != runs_->end() && run->trusted && run->begin <= begin && end <= run->end;
    }
    // One byte for each of [begin, end): '\1' where trusted.
    std::string mask(std::size_t begin, std::size_t end) const {
        std::string mask(end - begin, '\0');
        for (auto run = run_at(begin); run != runs_->end() && run->begin < end; ++run) {
            const std::size_t from = std::max(run->begin, begin), to = std::min(run->end, end);
            if (run->trusted) mask.replace(from - begin, to - from, to - from, '\1');
        }
        return mask;
    }

private:
    std::vector<TextRun>::const_iterator run_at(std::size_t at) const {
        return std::upper_bound(runs_->begin(), runs_->end(), at,
                                [](std::size_t a, const TextRun& run) { return a < run.end; });
    }

    const std::vector<TextRun>* runs_;
    bool parse_special_;
};

class Encoder {
public:
    Encoder(const Tokenizer::Parts& parts, std::vector<std::int32_t>& ids) : parts_(parts), ids_(ids) {}

    void encode(std::string_view text, const Trust& trust) {
        std::vector<AddedTokenMatch> found;
        parts_.raw_tokens.split(text, trust, found);
        for (const AddedTokenMatch& part : found) {
            if (part.token) {
                ids_.push_back(part.token->id);
            } else {
                encode_raw(text, part.begin, part.end, trust);
            }
        }
    }

private:
    void encode_raw(std::string_view text, std::size_t begin, std::size_t end, const Trust& trust) {
        const std::string_view raw = text.substr(begin, end - begin);
        if (parts_.normalizer.empty() && parts_.normalized_tokens.empty()) {
            encode_pieces(raw, begin == 0);
            return;
        }
        TrustedText normal{std::string(raw), {}};
        if (trust.by_run() && !parts_.normalized_tokens.empty()) normal.trust = trust.mask(begin, end);
        parts_.normalizer.apply(normal);
        const auto allowed = [&](std::size_t from, std::size_t to) {
            if (!trust.by_run()) return trust(0, 0);
            return std::string_view(normal.trust).substr(from, to - from).find('\0') == std::string_view::npos;
        };
        std::vector<AddedTokenMatch> found;
        parts_.normalized_tokens.split(normal.text, allowed, found);
        for (const AddedTokenMatch& part : found) {
            if (part.token) {
                ids_.push_back(part.token->id);
            } else {
                encode_pieces(std::string_view(normal.text).substr(part.begin, part.end - part.begin),
                              begin == 0 && part.begin == 0);
            }
        }
    }

    void encode_pieces(std::string_view text, bool at_start) {
        pieces_.assign(text);
        parts_.pre_tokenizer.apply(pieces_, at_start);
        for (const Pieces::Range& range : pieces_.ranges)
            parts_.bpe.encode(parts_.vocabulary, std::string_view(pieces_.text).substr(range.begin, range.end - range.begin),
                              scratch_, ids_);
    }

    const Tokenizer::Parts& parts_;
    std::vector<std::int32_t>& ids_;
    Pieces pieces_;
    BpeScratch scratch_;
};

std::vector<std::int32_t> encode_text(const Tokenizer::Parts& parts, std::string_view text, const std::vector<TextRun>* runs,
                                      EncodeOptions options) {
    if (text.size() > kLongestText)
        throw_error<UsageError>("the text has {} bytes, need at most {} to tokenize", text.size(), kLongestText);
    if (const std::size_t valid = unicode::valid_prefix(text); valid < text.size())
        throw_error<UsageError>("the text is not valid UTF-8: byte 0x{:02x} at offset {}; convert it to UTF-8 first",
                                static_cast<unsigned char>(text[valid]), valid);
    std::vector<std::int32_t> ids;
    const PostProcessor& added = parts.post_processor;
    if (options.add_special) ids = added.before;
    Encoder(parts, ids).encode(text, Trust(runs, options.parse_special));
    if (options.add_special) ids.insert(ids.end(), added.after.begin(), added.after.end());
    return ids;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
    return encode_text(*parts_, text, nullptr, options);
}

std::vector<std::int32_t> Tokenizer::encode(const TaggedText& text, EncodeOptions options) const {
    return encode_text(*parts_, text.text, &text.runs, options);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
    std::string text;
    TokenDecoder decoder(parts_->decoder);
    for (const std::int32_t id : ids)
        if (is_token(id) && !(skip_special && is_special(id))) decoder.push(piece(id), text);
    decoder.finish(text);
    return text;
}

std::int32_t Tokenizer::vocabulary_size() const { return parts_->vocabulary.size(); }

bool Tokenizer::is_token(std::int32_t id) const { return parts_->vocabulary.contains(id); }

bool Tokenizer::is_special(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < parts_->special.size() && parts_->special[static_cast<std::size_t>(id)];
}

std::string_view Tokenizer::piece(std::int32_t id) const { return parts_->vocabulary.text(id); }

std::string Tokenizer::token_bytes(std::int32_t id) const {
    std::string bytes(piece(id));
    for (const DecoderStep& step : parts_->decoder.steps()) {
        if (std::holds_alternative<DecodeByteLevel>(step)) return byte_level_bytes(bytes);
        if (std::holds_alternative<DecodeByteFallback>(step)) {
            if (const int byte = byte_token_value(bytes); byte >= 0) return std::string(1, static_cast<char>(byte));
        }
        std::string_view from, to;
        std::string metaspace;
        if (const auto* replace = std::get_if<DecodeReplace>(&step)) {
            from = replace->pattern, to = replace->content;
        } else if (const auto* space = std::get_if<DecodeMetaspace>(&step)) {
            unicode::append(metaspace, space->replacement);
            from = metaspace, to = " ";
        }
        if (from.empty()) continue;
        for (std::size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size())
            bytes.replace(at, from.size(), to);
    }
    return bytes;
}

std::optional<std::int32_t> Tokenizer::find(std::string_view piece) const { return parts_->find(piece); }
std::optional<std::int32_t> Tokenizer::bos() const { return parts_->bos; }
std::optional<std::int32_t> Tokenizer::eos() const { return parts_->eos; }
std::span<const std::int32_t> Tokenizer::end_of_generation() const { return parts_->end_of_generation; }
const std::vector<std::pair<std::string, std::string>>& Tokenizer::special_tokens() const { return parts_->special_tokens; }

void Tokenizer::Parts::assemble(Source source, std::optional<PostProcessor> given) {
    special.assign(static_cast<std::size_t>(vocabulary.size()), false);
    for (const AddedToken& token : added)
        if (token.special) special[static_cast<std::size_t>(token.id)] = true;
    bpe.load(vocabulary, source.merges, source.options, special, what);
    normalizer = Normalizer::parse(descriptions.normalizer, what);
    pre_tokenizer = PreTokenizer::parse(descriptions.pre_tokenizer, what);
    decoder = DecoderSteps::parse(descriptions.decoder, what);
    if (given) {
        post_processor = *std::move(given);
        descriptions.post_processor = post_processor.to_json(vocabulary);
    } else {
        post_processor = PostProcessor::parse(descriptions.post_processor, vocabulary, what);
    }
    std::vector<std::pair<std::string, const AddedToken*>> raw, normalized;
    for (const AddedToken& token : added) {
        TrustedText text{token.content, {}};
        if (token.normalized) normalizer.apply(text);
        (token.normalized ? normalized : raw).emplace_back(std::move(text.text), &token);
    }
    raw_tokens.build(raw);
    normalized_tokens.build(normalized);
    bos = special_token_id("bos_token");
    eos = special_token_id("eos_token");
    if (eos) end_of_generation.push_back(*eos);
    std::sort(end_of_generation.begin(), end_of_generation.end());
    end_of_generation.erase(std::unique(end_of_generation.begin(), end_of_generation.end()), end_of_generation.end());
}

std::optional<std::int32_t> Tokenizer::Parts::special_token_id(std::string_view name) const {
    for (const auto& [key, text] : special_tokens)
        if (key == name) return find(text);
    return std::nullopt;
}

std::optional<std::int32_t> Tokenizer::Parts::find(std::string_view piece) const {
    for (const AddedToken& token : added)
        if (token.content == piece) return token.id;
    const std::int32_t id = vocabulary.find(piece);
    return id < 0 ? std::nullopt : std::optional(id);
}

}  // namespace narae
