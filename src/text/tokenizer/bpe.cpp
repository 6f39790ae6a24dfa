#include "text/tokenizer/bpe.h"

#include "base/error.h"
#include "text/unicode.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>

namespace narae {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 21 | static_cast<std::uint32_t>(right);
}

// The token that each pair joins to.
std::vector<std::int32_t> joined_tokens(const Vocabulary& vocabulary, const std::vector<MergedPair>& pairs,
                                        std::string_view what) {
    constexpr std::size_t kTogether = 64;
    std::vector<std::int32_t> joined(pairs.size());
    std::array<std::string, kTogether> texts;
    std::array<std::string_view, kTogether> views;
    std::array<std::int32_t, kTogether> ids;
    std::array<std::size_t, kTogether> ranks;
    std::int32_t expected = 0;  // vocabularies often list the joined tokens in the order of the merges: try the next one first
    for (std::size_t first = 0; first < pairs.size(); first += kTogether) {
        const std::size_t end = std::min(pairs.size(), first + kTogether);
        std::size_t open = 0;
        for (std::size_t rank = first; rank < end; ++rank, ++expected) {
            const std::string_view left = vocabulary.text(pairs[rank].left), right = vocabulary.text(pairs[rank].right);
            joined[rank] = expected;
            if (vocabulary.is_model_token(expected)) {
                const std::string_view guess = vocabulary.text(expected);
                if (guess.size() == left.size() + right.size() && guess.starts_with(left) && guess.ends_with(right)) continue;
            }
            views[open] = texts[open].assign(left).append(right);
            ranks[open++] = rank;
        }
        vocabulary.find_all(std::span(views).first(open), std::span(ids).first(open));
        for (std::size_t i = 0; i < open; ++i) {
            joined[ranks[i]] = ids[i];
            if (ids[i] < 0)
                throw_error<BadFileError>("{}: merge {} joins '{}' and '{}', but '{}' is no token of the vocabulary", what,
                                          ranks[i], vocabulary.text(pairs[ranks[i]].left),
                                          vocabulary.text(pairs[ranks[i]].right), views[i]);
        }
        expected = joined[end - 1] + 1;
    }
    return joined;
}

}  // namespace

std::vector<MergedPair> find_pairs(const Vocabulary& vocabulary,
                                   const std::vector<std::pair<std::string_view, std::string_view>>& texts,
                                   std::string_view what) {
    if (texts.size() > kMaximumMerges)
        throw_error<BadFileError>("{}: {} merges, need at most {}", what, texts.size(), kMaximumMerges);
    constexpr std::size_t kTogether = 32;
    std::vector<MergedPair> pairs;
    pairs.reserve(texts.size());
    std::array<std::string_view, 2 * kTogether> views;
    std::array<std::int32_t, 2 * kTogether> ids;
    for (std::size_t first = 0; first < texts.size(); first += kTogether) {
        const std::size_t count = std::min(kTogether, texts.size() - first);
        for (std::size_t i = 0; i < count; ++i)
            views[2 * i] = texts[first + i].first, views[2 * i + 1] = texts[first + i].second;
        vocabulary.find_all(std::span(views).first(2 * count), std::span(ids).first(2 * count));
        for (std::size_t i = 0; i < 2 * count; ++i)
            if (ids[i] < 0)
                throw_error<BadFileError>("{}: merge {} has '{}', which is no token of the vocabulary", what, first + i / 2,
                                          views[i]);
        for (std::size_t i = 0; i < count; ++i) pairs.push_back({ids[2 * i], ids[2 * i + 1]});
    }
    return pairs;
}

void Bpe::load(const Vocabulary& vocabulary, const std::vector<MergedPair>& pairs, const BpeOptions& options,
               const std::vector<bool>& forbidden, std::string_view what) {
    if (pairs.size() > kMaximumMerges)
        throw_error<BadFileError>("{}: {} merges, more than the {} that are supported", what, pairs.size(), kMaximumMerges);
    options_ = options;
    forbidden_ = forbidden;
    std::string text;
    for (char32_t c = 0; c < first_characters_.size(); ++c) {
        text.clear();
        unicode::append(text, c);
        first_characters_[c] = vocabulary.find(text);
    }
    byte_tokens_.fill(-1);
    if (options.byte_fallback)
        for (std::size_t byte = 0; byte < 256; ++byte) byte_tokens_[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte));

    slots_.assign(std::bit_ceil(pairs.size() + pairs.size() / 2 + 2), 0);
    merged_ = joined_tokens(vocabulary, pairs, what);
    const std::size_t mask = slots_.size() - 1;
    constexpr std::uint64_t kRankMask = (std::uint64_t{1} << kRankBits) - 1;
    for (std::size_t rank = 0; rank < pairs.size(); ++rank) {
        const std::uint64_t key = pair_key(pairs[rank].left, pairs[rank].right);
        std::size_t at = hash_word(key) & mask;
        while (slots_[at] != 0 && slots_[at] >> kRankBits != key) at = (at + 1) & mask;
        slots_[at] = key << kRankBits | (rank + 1);
        const auto index = static_cast<std::size_t>(merged_[rank]);
        if (index < forbidden_.size() && forbidden_[index]) merged_[rank] = -1;
    }
    static_assert(2 * kIdBits + kRankBits == 64 && kMaximumMerges + 1 <= kRankMask && kMaximumVocabulary <= 1u << kIdBits);
}

std::vector<MergedPair> Bpe::pairs() const {
    std::vector<MergedPair> by_rank(merged_.size(), {-1, -1});
    for (const std::uint64_t slot : slots_) {
        if (slot == 0) continue;
        const auto rank = static_cast<std::size_t>((slot & ((std::uint64_t{1} << kRankBits) - 1)) - 1);
        by_rank[rank] = {static_cast<std::int32_t>(slot >> (kIdBits + kRankBits)),
                         static_cast<std::int32_t>(slot >> kRankBits & ((1u << kIdBits) - 1))};
    }
    std::erase_if(by_rank, [](const MergedPair& pair) { return pair.left < 0; });
    return by_rank;
}

std::int32_t Bpe::rank_of(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = pair_key(left, right);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash_word(key) & mask; slots_[at] != 0; at = (at + 1) & mask) {
        if (slots_[at] >> kRankBits != key) continue;
        const auto rank = static_cast<std::int32_t>((slots_[at] & ((std::uint64_t{1} << kRankBits) - 1)) - 1);
        return merged_[static_cast<std::size_t>(rank)] < 0 ? -1 : rank;
    }
    return -1;
}

std::int32_t Bpe::character_id(const Vocabulary& vocabulary, std::string_view character, char32_t code_point) const {
    return code_point < first_characters_.size() ? first_characters_[code_point] : vocabulary.find(character);
}

void Bpe::split(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch) const {
    std::vector<BpeScratch::Symbol>& symbols = scratch.symbols;
    symbols.clear();
    symbols.reserve(
        static_cast<std::size_t>(std::count_if(piece.begin(), piece.end(), [](char byte) { return (byte & 0xC0) != 0x80; })));
    const auto add = [&](std::int32_t id) { symbols.push_back({id, -1, -1, -1}); };
    bool unknown_waits = false;  // an unknown character that a following one may join
    for (std::size_t at = 0; at < piece.size();) {
        const unicode::Decoded d = unicode::decode(piece, at);
        const std::string_view character = piece.substr(at, d.length);
        at += d.length;
        if (const std::int32_t id = character_id(vocabulary, character, d.code_point); id >= 0) {
            if (unknown_waits) add(*options_.unknown);
            unknown_waits = false;
            add(id);
            continue;
        }
        if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char byte) {
                return byte_tokens_[static_cast<unsigned char>(byte)] >= 0;
            })) {
            for (const char byte : character) add(byte_tokens_[static_cast<unsigned char>(byte)]);
            continue;
        }
        if (!options_.unknown) continue;
        if (unknown_waits && !options_.fuse_unknown) add(*options_.unknown);
        unknown_waits = true;
    }
    if (unknown_waits) add(*options_.unknown);
}

// For a word, looking through all its pairs is faster than any queue.
void Bpe::merge_short(std::vector<BpeScratch::Symbol>& symbols) const {
    for (std::size_t at = 0; at + 1 < symbols.size(); ++at) symbols[at].rank = rank_of(symbols[at].id, symbols[at + 1].id);
    symbols.back().rank = -1;
    for (;;) {
        std::size_t best = 0;
        std::uint32_t best_rank = UINT32_MAX;  // no rank, -1, is the largest as an unsigned number
        for (std::size_t at = 0; at < symbols.size(); ++at) {
            const auto rank = static_cast<std::uint32_t>(symbols[at].rank);
            if (rank < best_rank) best = at, best_rank = rank;
        }
        if (best_rank == UINT32_MAX) return;
        symbols[best].id = merged_[best_rank];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
        const bool last = best + 1 == symbols.size();
        symbols[best].rank = last ? -1 : rank_of(symbols[best].id, symbols[best + 1].id);
        if (best > 0) symbols[best - 1].rank = rank_of(symbols[best - 1].id, symbols[best].id);
    }
}

void Bpe::merge_long(BpeScratch& scratch) const {
    std::vector<BpeScratch::Symbol>& symbols = scratch.symbols;
    scratch.queue.reset(merged_.size());
    const auto update = [&](std::int32_t at) {
        BpeScratch::Symbol& symbol = symbols[static_cast<std::size_t>(at)];
        symbol.rank = symbol.next < 0 ? -1 : rank_of(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
        if (symbol.rank < 0) return;
        scratch.queue.push({symbol.rank, at});
        ++scratch.queue_operations;
    };
    const auto count = static_cast<std::int32_t>(symbols.size());
    for (std::int32_t at = 0; at < count; ++at) {
        symbols[static_cast<std::size_t>(at)].previous = at - 1;
        symbols[static_cast<std::size_t>(at)].next = at + 1 < count ? at + 1 : -1;
        update(at);
    }
    while (!scratch.queue.empty()) {
        const PairQueue::Pair pair = scratch.queue.pop();
        ++scratch.queue_operations;
        BpeScratch::Symbol& left = symbols[static_cast<std::size_t>(pair.position)];
        if (left.rank != pair.rank) continue;  // the pair has changed since
        BpeScratch::Symbol& right = symbols[static_cast<std::size_t>(left.next)];
        left.id = merged_[static_cast<std::size_t>(pair.rank)];
        left.next = right.next;
        right.rank = -1;
        right.id = -1;
        if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = pair.position;
        if (left.previous >= 0) update(left.previous);
        update(pair.position);
    }
    std::erase_if(symbols, [](const BpeScratch::Symbol& symbol) { return symbol.id < 0; });
}

void Bpe::encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                 std::vector<std::int32_t>& ids) const {
    if (options_.ignore_merges) {
        const std::int32_t id = vocabulary.find(piece);
        if (id >= 0 && !(static_cast<std::size_t>(id) < forbidden_.size() && forbidden_[static_cast<std::size_t>(id)])) {
            ids.push_back(id);
            return;
        }
    }
    split(vocabulary, piece, scratch);
    constexpr std::size_t kShort = 32;
    if (scratch.symbols.size() > kShort) {
        merge_long(scratch);
    } else if (scratch.symbols.size() > 1) {
        merge_short(scratch.symbols);
    }
    for (const BpeScratch::Symbol& symbol : scratch.symbols) ids.push_back(symbol.id);
}

}  // namespace narae
