// The KV cache on the card: blocks of a group in virtual memory that is backed as it is used.
#pragma once

#include "kernels/batch.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/views.h"
#include "kernels/cuda/virtual_memory.h"

namespace narae::kernels::cuda {

class CudaKvStorage final : public KvStorage {
public:
    // `most_bytes`: addresses to reserve, the card's memory.
    CudaKvStorage(const KvGroup& group, int device, std::size_t most_bytes);
    void reserve_blocks(std::int64_t count) override;
    std::int64_t reserved_blocks() const override { return blocks_; }
    KvView layer(int index) const;
    void copy_block(const Stream& stream, std::int32_t from, std::int32_t to);

private:
    VirtualMemory memory_;
    std::int64_t blocks_ = 0;
};

CudaKvStorage& cuda_storage(KvStorage& storage);

}  // namespace narae::kernels::cuda
