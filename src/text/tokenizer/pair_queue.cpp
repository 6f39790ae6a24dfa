#include "text/tokenizer/pair_queue.h"

#include <algorithm>
#include <functional>

namespace narae {
namespace {

void push_least(std::vector<std::int32_t>& heap, std::int32_t value) {
    heap.push_back(value);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
}

std::int32_t pop_least(std::vector<std::int32_t>& heap) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const std::int32_t least = heap.back();
    heap.pop_back();
    return least;
}

}  // namespace

void PairQueue::reset(std::size_t ranks) { bucket_of_rank_.resize(ranks, -1); }

void PairQueue::push(Pair pair) {
    std::int32_t& index = bucket_of_rank_[static_cast<std::size_t>(pair.rank)];
    if (index < 0) {
        if (free_buckets_.empty()) {
            free_buckets_.push_back(static_cast<std::int32_t>(buckets_.size()));
            buckets_.emplace_back();
        }
        index = free_buckets_.back();
        free_buckets_.pop_back();
        push_least(ranks_, pair.rank);
    }
    Bucket& bucket = buckets_[static_cast<std::size_t>(index)];
    if (bucket.open) {
        push_least(bucket.late, pair.position);
    } else {
        bucket.waiting.push_back(pair.position);
    }
}

PairQueue::Pair PairQueue::pop() {
    const std::int32_t rank = ranks_.front();
    std::int32_t& index = bucket_of_rank_[static_cast<std::size_t>(rank)];
    Bucket& bucket = buckets_[static_cast<std::size_t>(index)];
    if (!bucket.open) {
        bucket.open = true;
        if (!std::is_sorted(bucket.waiting.begin(), bucket.waiting.end()))
            std::sort(bucket.waiting.begin(), bucket.waiting.end());
    }
    const bool from_late =
        !bucket.late.empty() && (bucket.taken == bucket.waiting.size() || bucket.late.front() < bucket.waiting[bucket.taken]);
    const std::int32_t position = from_late ? pop_least(bucket.late) : bucket.waiting[bucket.taken++];
    if (bucket.taken == bucket.waiting.size() && bucket.late.empty()) {
        bucket.waiting.clear();
        bucket.taken = 0;
        bucket.open = false;
        free_buckets_.push_back(index);
        index = -1;
        pop_least(ranks_);
    }
    return {rank, position};
}

}  // namespace narae
