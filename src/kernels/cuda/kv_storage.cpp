#include "kernels/cuda/kv_storage.h"

#include "base/error.h"

#include <algorithm>

namespace narae::kernels::cuda {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{32} << 20;

}  // namespace

CudaKvStorage& cuda_storage(KvStorage& storage) { return static_cast<CudaKvStorage&>(storage); }

CudaKvStorage::CudaKvStorage(const KvGroup& group, int device, std::size_t most_bytes)
    : KvStorage(group), memory_(device, most_bytes, kPieceBytes) {}

void CudaKvStorage::reserve_blocks(std::int64_t count) {
    if (count <= blocks_) return;
    memory_.grow(static_cast<std::size_t>(count * group().block_bytes()));
    blocks_ = count;
}

KvView CudaKvStorage::layer(int index) const {
    const std::int64_t bytes = group().block_bytes();
    return {.data = memory_.data() + bytes / group().layers * index,
            .block_bytes = bytes,
            .type = group().type,
            .kv_heads = group().kv_heads,
            .head_dim = group().head_dim,
            .window = group().window};
}

void CudaKvStorage::copy_block(const Stream& stream, std::int32_t from, std::int32_t to) {
    NARAE_CHECK(from >= 0 && from < blocks_ && to >= 0 && to < blocks_, "block {} to {} of {}", from, to, blocks_);
    const std::int64_t bytes = group().block_bytes();
    copy_on_device(stream, memory_.data() + to * bytes, memory_.data() + from * bytes, static_cast<std::size_t>(bytes));
}

}  // namespace narae::kernels::cuda
