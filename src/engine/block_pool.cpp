#include "engine/block_pool.h"

#include "base/error.h"

#include <algorithm>
#include <functional>

namespace narae {

std::optional<std::int32_t> BlockPool::allocate() {
    std::int32_t block = 0;
    if (!free_.empty()) {
        std::pop_heap(free_.begin(), free_.end(), std::greater<>());
        block = free_.back();
        free_.pop_back();
    } else if (high_water() < capacity_) {
        block = high_water();
        users_.push_back(0);
    } else {
        return std::nullopt;
    }
    users_[static_cast<std::size_t>(block)] = 1;
    ++used_;
    return block;
}

void BlockPool::share(std::int32_t block) {
    NARAE_CHECK(block >= 0 && block < high_water() && users_[static_cast<std::size_t>(block)] > 0, "block {}", block);
    ++users_[static_cast<std::size_t>(block)];
}

void BlockPool::release(std::int32_t block) {
    NARAE_CHECK(block >= 0 && block < high_water() && users_[static_cast<std::size_t>(block)] > 0, "block {}", block);
    if (--users_[static_cast<std::size_t>(block)] > 0) return;
    --used_;
    free_.push_back(block);
    std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

}  // namespace narae
