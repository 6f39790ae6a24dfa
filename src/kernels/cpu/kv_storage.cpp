#include "kernels/cpu/kv_storage.h"

#include "base/error.h"

#include <cstring>

namespace narae::kernels::cpu {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{2} << 20;  // at least: a huge page
// Loads of the last values of an odd head_dim reach into what follows.
constexpr std::int64_t kPieceEnd = 64;

}  // namespace

CpuKvStorage::CpuKvStorage(const KvGroup& group)
    : KvStorage(group), part_bytes_(std::int64_t{kBlockTokens} * group.kv_heads * group.head_dim * kv_type_bytes(group.type)) {
    while ((group.block_bytes() << piece_shift_) < kPieceBytes && piece_shift_ < 10) ++piece_shift_;
}

void CpuKvStorage::reserve_blocks(std::int64_t count) {
    while (blocks_ < count) {
        memory_.emplace_back(static_cast<std::size_t>((group().block_bytes() << piece_shift_) + kPieceEnd));
        pieces_.push_back(memory_.back().data());
        blocks_ += std::int64_t{1} << piece_shift_;
    }
}

std::byte* CpuKvStorage::block(std::int32_t index) const {
    NARAE_CHECK(index >= 0 && index < blocks_, "KV block {} of {}", index, blocks_);
    const std::int32_t within = index & ((1 << piece_shift_) - 1);
    return pieces_[static_cast<std::size_t>(index >> piece_shift_)] + within * group().block_bytes();
}

void CpuKvStorage::copy_block(std::int32_t from, std::int32_t to) {
    if (from != to) std::memcpy(block(to), block(from), static_cast<std::size_t>(group().block_bytes()));
}

CpuKvStorage& cpu_storage(KvStorage& storage) {
    auto* found = dynamic_cast<CpuKvStorage*>(&storage);
    NARAE_CHECK(found, "a KV cache of another backend");
    return *found;
}

}  // namespace narae::kernels::cpu
