// Byte-pair encoding of one piece of text: split into characters, then merge the neighbouring pair of the lowest rank,
// leftmost first, until none is left. A queue of candidate pairs over a linked list: O(n log n) for a piece of n
// characters, whatever the piece. (Sennrich et al. 2016; huggingface/tokenizers, models/bpe.)
// Immutable after loading; encode may run concurrently, each caller with its own BpeScratch.
#pragma once

#include "text/tokenizer/pair_queue.h"
#include "text/tokenizer/vocabulary.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narae {

constexpr std::size_t kMaximumMerges = (std::size_t{1} << 22) - 2;

struct BpeOptions {
    std::optional<std::int32_t> unknown;  // what a character outside the vocabulary becomes; without it, nothing
    bool fuse_unknown = false;            // neighbouring unknown characters become one
    bool byte_fallback = false;           // first try the tokens <0x00> ... <0xFF>
    bool ignore_merges = false;           // a piece that is a token is that token, whatever the merges say
};

struct MergedPair {
    std::int32_t left, right;
};

// The pairs of ids of pairs of texts. BadFileError naming `what`: a text that is no token, too many pairs.
std::vector<MergedPair> find_pairs(const Vocabulary& vocabulary,
                                   const std::vector<std::pair<std::string_view, std::string_view>>& texts,
                                   std::string_view what);

struct BpeScratch {
    struct Symbol {
        std::int32_t id;
        std::int32_t previous, next;  // positions; -1 at the ends
        std::int32_t rank;            // of the pair with the next symbol; -1 for none
    };
    std::vector<Symbol> symbols;
    PairQueue queue;
    std::uint64_t queue_operations = 0;  // counted over all calls: the cost of encoding, for tests
};

class Bpe {
public:
    // The pairs in order of rank; a pair that comes twice has its last rank. `forbidden` ids are never the result of a
    // merge or of ignore_merges (special tokens: text does not spell them). BadFileError naming `what`: a pair whose
    // joined text is no token of the vocabulary, too many pairs. The vocabulary must stay where it is.
    void load(const Vocabulary& vocabulary, const std::vector<MergedPair>& pairs, const BpeOptions& options,
              const std::vector<bool>& forbidden, std::string_view what);

    // Appends the ids of the piece (valid UTF-8, at most 2^31 - 1 characters).
    void encode(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch,
                std::vector<std::int32_t>& ids) const;

    const BpeOptions& options() const { return options_; }
    // The pairs in order of rank, without those that a later one replaced; forbidden ones are among them.
    std::vector<MergedPair> pairs() const;

private:
    static constexpr int kIdBits = 21, kRankBits = 22;

    std::int32_t rank_of(std::int32_t left, std::int32_t right) const;
    std::int32_t character_id(const Vocabulary& vocabulary, std::string_view character, char32_t code_point) const;
    void split(const Vocabulary& vocabulary, std::string_view piece, BpeScratch& scratch) const;
    void merge_short(std::vector<BpeScratch::Symbol>& symbols) const;
    void merge_long(BpeScratch& scratch) const;

    BpeOptions options_;
    std::vector<std::uint64_t> slots_;                  // left << 43 | right << 22 | rank + 1; 0 is free; at most 2/3 full
    std::vector<std::int32_t> merged_;                  // by rank: the joined token; -1 where it is forbidden
    std::array<std::int32_t, 512> first_characters_{};  // ids of U+0000 ... U+01FF, which hold the byte-level alphabet
    std::array<std::int32_t, 256> byte_tokens_{};       // <0x00> ... <0xFF>, or -1
    std::vector<bool> forbidden_;
};

}  // namespace narae
