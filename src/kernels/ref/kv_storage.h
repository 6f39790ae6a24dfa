// The reference's paged KV cache: plain memory, block after block, in the group's element type.
#pragma once

#include "kernels/batch.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace narae::kernels::ref {

enum class KvPart : std::uint8_t { key, value };

class RefKvStorage final : public KvStorage {
public:
    using KvStorage::KvStorage;
    void reserve_blocks(std::int64_t count) override;
    std::int64_t reserved_blocks() const override { return blocks_; }

    // One head's [head_dim] values at one position of a block; stored rounded to nearest, ties to even.
    void store(int layer, KvPart part, std::int32_t block, int offset, int kv_head, const float* values);
    void load(int layer, KvPart part, std::int32_t block, int offset, int kv_head, float* values) const;
    void copy_block(std::int32_t from, std::int32_t to);

private:
    std::size_t place(int layer, KvPart part, std::int32_t block, int offset, int kv_head) const;

    std::int64_t blocks_ = 0;
    std::vector<std::byte> bytes_;  // [blocks, layers, key or value, kBlockTokens, kv_heads, head_dim]
};

}  // namespace narae::kernels::ref
