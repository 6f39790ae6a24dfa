// The paged KV cache in pieces of a few blocks each: growing adds pieces, blocks never move.
//
// A block holds, layer after layer, keys [kv_head][head_dim][64] and values [kv_head][64][head_dim]: both products of attention
// then run along vectors without sums across lanes.
#pragma once

#include "kernels/batch.h"

#include <vector>

namespace narae::kernels::cpu {

class CpuKvStorage final : public KvStorage {
public:
    explicit CpuKvStorage(const KvGroup& group);
    void reserve_blocks(std::int64_t count) override;
    std::int64_t reserved_blocks() const override { return blocks_; }

    void copy_block(std::int32_t from, std::int32_t to);
    std::byte* block(std::int32_t index) const;
    std::byte* const* pieces() const { return pieces_.data(); }
    int piece_shift() const { return piece_shift_; }  // blocks of a piece: 1 << piece_shift
    std::int64_t keys_offset(int layer) const { return 2 * layer * part_bytes_; }
    std::int64_t values_offset(int layer) const { return (2 * layer + 1) * part_bytes_; }

private:
    std::int64_t part_bytes_;  // keys or values of one layer in a block
    int piece_shift_ = 0;
    std::int64_t blocks_ = 0;
    std::vector<Buffer> memory_;
    std::vector<std::byte*> pieces_;
};

CpuKvStorage& cpu_storage(KvStorage& storage);

}  // namespace narae::kernels::cpu
