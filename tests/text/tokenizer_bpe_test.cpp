// Byte-pair encoding against its definition, with merges in any order: a later merge may make a pair of lower rank.
#include "text/tokenizer/bpe.h"

#include "text/tokenizer/pair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace narae::test {
namespace {

using Ids = std::vector<std::int32_t>;

struct Toy {
    Vocabulary vocabulary;
    std::vector<MergedPair> merges;
};

Toy random_toy(std::mt19937& random) {
    std::vector<std::string> tokens = {"a", "b", "c"};
    std::vector<MergedPair> merges;
    for (int i = 0; i < 30; ++i) {
        const std::size_t left = random() % tokens.size(), right = random() % tokens.size();
        const std::string joined = tokens[left] + tokens[right];
        if (joined.size() > 8) continue;
        if (std::find(tokens.begin(), tokens.end(), joined) == tokens.end()) tokens.push_back(joined);
        merges.push_back({static_cast<std::int32_t>(left), static_cast<std::int32_t>(right)});
    }
    std::shuffle(merges.begin(), merges.end(), random);
    Toy toy;
    for (std::size_t id = 0; id < tokens.size(); ++id) toy.vocabulary.add(static_cast<std::int64_t>(id), tokens[id], "toy");
    toy.merges = merges;
    return toy;
}

// The definition: merge the leftmost of the neighbouring pairs with the lowest rank until none is left.
Ids encode_by_definition(const Toy& toy, const std::string& text) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> ranks;
    for (std::size_t rank = 0; rank < toy.merges.size(); ++rank) ranks[{toy.merges[rank].left, toy.merges[rank].right}] = rank;
    Ids ids;
    for (const char c : text) ids.push_back(c - 'a');
    for (;;) {
        std::size_t best = ids.size(), best_rank = SIZE_MAX;
        for (std::size_t at = 0; at + 1 < ids.size(); ++at) {
            const auto found = ranks.find({ids[at], ids[at + 1]});
            if (found != ranks.end() && found->second < best_rank) best = at, best_rank = found->second;
        }
        if (best == ids.size()) return ids;
        const std::string joined = std::string(toy.vocabulary.text(ids[best])).append(toy.vocabulary.text(ids[best + 1]));
        ids[best] = toy.vocabulary.find(joined);
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

TEST(Bpe, EqualsItsDefinition) {
    std::mt19937 random(1);
    for (int round = 0; round < 400; ++round) {
        const Toy toy = random_toy(random);
        Bpe bpe;
        bpe.load(toy.vocabulary, toy.merges, {}, {}, "toy");
        BpeScratch scratch;
        for (int text_round = 0; text_round < 20; ++text_round) {
            std::string text;
            for (std::size_t length = 1 + random() % 150; length-- > 0;)
                text += text_round % 2 ? "abc"[random() % 3] : "ab"[random() % 17 == 0];
            Ids ids;
            bpe.encode(toy.vocabulary, text, scratch, ids);
            ASSERT_EQ(ids, encode_by_definition(toy, text)) << text;
        }
    }
}

TEST(Bpe, GivesItsPairsBack) {
    std::mt19937 random(2);
    const Toy toy = random_toy(random);
    Bpe bpe, again;
    bpe.load(toy.vocabulary, toy.merges, {}, {}, "toy");
    const std::vector<MergedPair> pairs = bpe.pairs();
    EXPECT_LE(pairs.size(), toy.merges.size());
    again.load(toy.vocabulary, pairs, {}, {}, "toy");
    BpeScratch scratch;
    Ids first, second;
    bpe.encode(toy.vocabulary, "abcabcaabbcc", scratch, first);
    again.encode(toy.vocabulary, "abcabcaabbcc", scratch, second);
    EXPECT_EQ(first, second);
}

TEST(Bpe, NeverMakesAForbiddenToken) {
    Vocabulary vocabulary;
    for (const auto& [id, text] : {std::pair(0, "a"), std::pair(1, "b"), std::pair(2, "ab"), std::pair(3, "aba")})
        vocabulary.add(id, text, "toy");
    Bpe bpe;
    BpeOptions options;
    options.ignore_merges = true;
    bpe.load(vocabulary, {{0, 1}, {2, 0}}, options, {false, false, false, true}, "toy");
    BpeScratch scratch;
    Ids ids;
    bpe.encode(vocabulary, "aba", scratch, ids);
    EXPECT_EQ(ids, (Ids{2, 0}));
}

TEST(PairQueue, GivesTheLowestRankAndTheLeftmost) {
    std::mt19937 random(3);
    PairQueue queue;
    queue.reset(10);
    std::multiset<std::pair<std::int32_t, std::int32_t>> expected;
    for (int step = 0; step < 100000; ++step) {
        if (expected.empty() || random() % 2 == 0) {
            const PairQueue::Pair pair = {static_cast<std::int32_t>(random() % 10), static_cast<std::int32_t>(random() % 1000)};
            queue.push(pair);
            expected.emplace(pair.rank, pair.position);
        } else {
            const PairQueue::Pair pair = queue.pop();
            ASSERT_EQ(std::pair(pair.rank, pair.position), *expected.begin());
            expected.erase(expected.begin());
        }
        ASSERT_EQ(queue.empty(), expected.empty());
    }
}

}  // namespace
}  // namespace narae::test
