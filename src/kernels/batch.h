// What one step computes: a ragged batch of prefill and decode rows of many sequences together, and the paged KV cache
// they read and extend. Plain data; arrays are views into fixed buffers of the backend (Workspace::batch), so that a
// recorded step can be replayed with new contents.
#pragma once

#include "tensor/tensor.h"

#include <cstdint>
#include <span>
#include <vector>

namespace narae::kernels {

// Tokens of one KV block.
inline constexpr int kBlockTokens = 64;

// One token's place in the batch. Rows of a sequence are consecutive and their positions ascend by one.
struct Batch {
    int rows = 0;                             // tokens computed in this step
    int sequences = 0;                        // that have rows in it
    std::span<const std::int32_t> ids;        // [rows]; a negative value -1 - s stands for "the token last sampled in slot s"
    std::span<const std::int32_t> positions;  // [rows], absolute
    std::span<const std::int32_t> row_sequence;  // [rows], 0 <= . < sequences
    std::span<const std::int32_t> row_begin;     // [sequences + 1], first row of each sequence
    std::span<const std::int32_t> slots;         // [sequences], where a sampled token is remembered
    std::span<const std::int32_t> logit_rows;    // [logit rows], ascending; any rows, several a sequence
    std::span<const std::int32_t> adapters;      // [rows], -1: none; empty: none anywhere
    // Block tables, one per layer group: entry [s * table_stride + b] is the block of positions
    // [b * kBlockTokens, (b + 1) * kBlockTokens) of sequence s. Blocks for every row's position are present.
    std::vector<std::span<const std::int32_t>> block_tables;
    int table_stride = 0;
};

// The fixed buffers that batches are written into, sized by a run's limits. Views; the backend owns the memory.
struct BatchBuffers {
    std::span<std::int32_t> ids, positions, row_sequence, adapters;  // [max_rows]
    std::span<std::int32_t> row_begin;                               // [max_sequences + 1]
    std::span<std::int32_t> slots;                                   // [max_sequences]
    std::span<std::int32_t> logit_rows;                              // [max_logit_rows]
    std::vector<std::span<std::int32_t>> block_tables;               // per layer group [max_sequences * table_stride]
    int table_stride = 0;                                            // blocks of the longest sequence
};

// How many int32 the buffers of these limits need, and the buffers cut out of such a piece of memory.
std::int64_t batch_buffer_elements(int max_rows, int max_sequences, int max_logit_rows, int max_context, int groups);
BatchBuffers cut_batch_buffers(std::span<std::int32_t> memory, int max_rows, int max_sequences, int max_logit_rows,
                               int max_context, int groups);
// The batch that the first `rows`, `sequences` and `logit_rows` entries of the buffers make, without adapters.
Batch batch_of(const BatchBuffers& buffers, std::size_t rows, std::size_t sequences, std::size_t logit_rows);

enum class KvType : std::uint8_t { f32, f16, bf16 };
int kv_type_bytes(KvType type);

// Layers that share a block table, since they have the same window and head shape.
struct KvGroup {
    int layers = 0;
    int kv_heads = 0;
    int head_dim = 0;
    int window = 0;  // 0: full attention; W: a query sees the last W positions, itself included
    KvType type = KvType::f16;

    // Bytes of one block: keys and values of kBlockTokens positions in every layer of the group.
    std::int64_t block_bytes() const {
        return std::int64_t{2} * kBlockTokens * layers * kv_heads * head_dim * kv_type_bytes(type);
    }
};

// The memory of one group's blocks; grows when it is used. Owned by the caller, made by Backend::make_kv.
class KvStorage {
public:
    explicit KvStorage(const KvGroup& group) : group_(group) {}
    virtual ~KvStorage() = default;
    const KvGroup& group() const { return group_; }
    // Makes blocks [0, count) usable; contents stay. ResourceError when the memory is not to be had.
    virtual void reserve_blocks(std::int64_t count) = 0;
    virtual std::int64_t reserved_blocks() const = 0;

private:
    KvGroup group_;
};

// One layer's part of a KvStorage.
struct KvLayer {
    KvStorage* storage = nullptr;
    int group = 0;  // index into Batch::block_tables
    int layer = 0;  // within the group
};

}  // namespace narae::kernels
