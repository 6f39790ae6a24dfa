// The queue of a long piece's mergeable pairs: gives them by rank, those of one rank from left to right. Pairs of a rank
// wait in one bucket, mostly in the order of their positions already, so that taking one is cheaper than from a heap of all:
// a text of equal characters has a million pairs of a handful of ranks. Plain value; one per thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace narae {

class PairQueue {
public:
    struct Pair {
        std::int32_t rank, position;
    };

    // For ranks below `ranks`; the queue must be empty.
    void reset(std::size_t ranks);
    bool empty() const { return ranks_.empty(); }
    void push(Pair pair);
    Pair pop();

private:
    struct Bucket {
        std::vector<std::int32_t> waiting;  // sorted when the bucket is opened
        std::size_t taken = 0;              // of those
        std::vector<std::int32_t> late;     // pushed after that: a heap
        bool open = false;
    };

    std::vector<Bucket> buckets_;
    std::vector<std::int32_t> bucket_of_rank_;  // or -1
    std::vector<std::int32_t> free_buckets_;
    std::vector<std::int32_t> ranks_;  // that have a bucket: a heap
};

}  // namespace narae
