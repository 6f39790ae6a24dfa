#include "text/tokenizer/bpe.h"

#include "base/error.h"
#include "text/unicode.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>

namespace narae {
namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 21 | static_cast<std::uint32_t>(right);
}

}  // namespace

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

    slots_.assign(std::bit_ceil(pairs.size() * 2 + 2), 0);
    merged_.clear();
    merged_.reserve(pairs.size());
    const std::size_t mask = slots_.size() - 1;
    constexpr std::uint64_t kRankMask = (std::uint64_t{1} << kRankBits) - 1;
    std::int32_t expected = -1;  // trained vocabularies list the joined tokens in the order of the merges
    for (const MergedPair& pair : pairs) {
        const std::string_view left = vocabulary.text(pair.left), right = vocabulary.text(pair.right);
        const std::string_view guess = vocabulary.is_model_token(expected) ? vocabulary.text(expected) : std::string_view();
        std::int32_t joined = expected;
        if (guess.size() != left.size() + right.size() || !guess.starts_with(left) || !guess.ends_with(right)) {
            text.assign(left).append(right);
            joined = vocabulary.find(text);
            if (joined < 0)
                throw_error<BadFileError>("{}: merge {} joins '{}' and '{}', but '{}' is no token of the vocabulary", what,
                                          merged_.size(), left, right, text);
        }
        expected = joined + 1;
        const std::uint64_t key = pair_key(pair.left, pair.right);
        std::size_t at = hash_word(key) & mask;
        while (slots_[at] != 0 && slots_[at] >> kRankBits != key) at = (at + 1) & mask;
        slots_[at] = key << kRankBits | (merged_.size() + 1);
        const auto index = static_cast<std::size_t>(joined);
        merged_.push_back(index < forbidden_.size() && forbidden_[index] ? -1 : joined);
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

void Bpe::merge(BpeScratch& scratch) const {
    std::vector<BpeScratch::Symbol>& symbols = scratch.symbols;
    std::vector<std::uint64_t>& heap = scratch.heap;
    heap.clear();
    const auto candidate = [](std::int32_t rank, std::int32_t at) {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(rank)) << 32 | static_cast<std::uint32_t>(at);
    };
    const auto count = static_cast<std::int32_t>(symbols.size());
    for (std::int32_t at = 0; at < count; ++at) {
        BpeScratch::Symbol& symbol = symbols[static_cast<std::size_t>(at)];
        symbol.previous = at - 1;
        symbol.next = at + 1 < count ? at + 1 : -1;
        if (symbol.next < 0) continue;
        symbol.rank = rank_of(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
        if (symbol.rank >= 0) heap.push_back(candidate(symbol.rank, at));
    }
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    scratch.heap_operations += heap.size();

    const auto update = [&](std::int32_t at) {
        BpeScratch::Symbol& symbol = symbols[static_cast<std::size_t>(at)];
        symbol.rank = symbol.next < 0 ? -1 : rank_of(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
        if (symbol.rank < 0) return;
        heap.push_back(candidate(symbol.rank, at));
        std::push_heap(heap.begin(), heap.end(), std::greater<>());
        ++scratch.heap_operations;
    };
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), std::greater<>());
        const auto rank = static_cast<std::int32_t>(heap.back() >> 32);
        const auto at = static_cast<std::int32_t>(heap.back() & UINT32_MAX);
        heap.pop_back();
        ++scratch.heap_operations;
        BpeScratch::Symbol& symbol = symbols[static_cast<std::size_t>(at)];
        // The pair may have changed since. As in the original, it still counts when it joins to the same token.
        if (symbol.rank < 0 || merged_[static_cast<std::size_t>(symbol.rank)] != merged_[static_cast<std::size_t>(rank)])
            continue;
        BpeScratch::Symbol& right = symbols[static_cast<std::size_t>(symbol.next)];
        symbol.id = merged_[static_cast<std::size_t>(rank)];
        symbol.next = right.next;
        right.rank = -1;
        right.id = -1;
        if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = at;
        if (symbol.previous >= 0) update(symbol.previous);
        update(at);
    }
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
    if (scratch.symbols.size() > 1) merge(scratch);
    for (const BpeScratch::Symbol& symbol : scratch.symbols)
        if (symbol.id >= 0) ids.push_back(symbol.id);
}

}  // namespace narae
