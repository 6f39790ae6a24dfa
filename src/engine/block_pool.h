// Which blocks of a layer group's KV cache are free and which are used, and by how many sequences. Pure logic: no memory, no
// clock, no threads. The pool never hands out a block beyond its capacity; the lowest free block comes first, so that the
// memory behind it grows only when it must.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace narae {

class BlockPool {
public:
    explicit BlockPool(std::int32_t capacity) : capacity_(capacity) {}

    std::optional<std::int32_t> allocate();  // used once; nothing when all are in use
    void share(std::int32_t block);          // one more user
    void release(std::int32_t block);        // one user less; free at none

    std::int32_t capacity() const { return capacity_; }
    std::int32_t used() const { return used_; }
    std::int32_t free() const { return capacity_ - used_; }
    // One more than the highest block ever handed out: what the storage must hold.
    std::int32_t high_water() const { return static_cast<std::int32_t>(users_.size()); }

private:
    std::int32_t capacity_, used_ = 0;
    std::vector<std::int32_t> users_;  // by block
    std::vector<std::int32_t> free_;   // a heap, lowest block on top
};

}  // namespace narae
