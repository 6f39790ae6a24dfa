#include "bench/lockstep.h"

#include "base/error.h"

namespace narae::bench {
namespace {

using kernels::kBlockTokens;

int blocks_of(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

Lockstep::Lockstep(Model& model, int sequences) : model_(model), sequences_(sequences) {
    if (sequences < 1 || sequences > model.limits.max_sequences)
        throw_error<UsageError>("{} sequences at once, need 1 to {}", sequences, model.limits.max_sequences);
    for (const kernels::KvGroup& group : model.shape.groups) kv_.push_back(model.backend->make_kv(group));
}

Lockstep::~Lockstep() = default;

void Lockstep::truncate(int length) {
    NARAE_CHECK(length >= 0 && length <= length_, "truncate {} tokens to {}", length_, length);
    length_ = length;
}

kernels::Batch Lockstep::fill(std::span<const std::int32_t> ids, int tokens, int logit_rows) {
    const kernels::BatchBuffers& buffers = model_.workspace.batch;
    const auto stride = static_cast<std::size_t>(buffers.table_stride);
    std::size_t row = 0, logit_row = 0;
    for (int s = 0; s < sequences_; ++s) {
        const auto index = static_cast<std::size_t>(s);
        buffers.row_begin[index] = static_cast<std::int32_t>(row);
        buffers.slots[index] = s;
        // Block b of sequence s, so numbered that the storage grows with the length.
        for (const auto& table : buffers.block_tables)
            for (int b = 0; b < blocks_of(length_ + tokens); ++b)
                table[index * stride + static_cast<std::size_t>(b)] = b * sequences_ + s;
        for (int t = 0; t < tokens; ++t, ++row) {
            buffers.ids[row] = ids[row];
            buffers.positions[row] = length_ + t;
            buffers.row_sequence[row] = s;
            if (t >= tokens - logit_rows) buffers.logit_rows[logit_row++] = static_cast<std::int32_t>(row);
        }
    }
    buffers.row_begin[static_cast<std::size_t>(sequences_)] = static_cast<std::int32_t>(row);

    kernels::Batch batch;
    batch.rows = static_cast<int>(row);
    batch.sequences = sequences_;
    batch.ids = buffers.ids.first(row);
    batch.positions = buffers.positions.first(row);
    batch.row_sequence = buffers.row_sequence.first(row);
    batch.row_begin = buffers.row_begin.first(static_cast<std::size_t>(sequences_) + 1);
    batch.slots = buffers.slots.first(static_cast<std::size_t>(sequences_));
    batch.logit_rows = buffers.logit_rows.first(logit_row);
    for (const auto& table : buffers.block_tables) batch.block_tables.push_back(table);
    batch.table_stride = buffers.table_stride;
    return batch;
}

void Lockstep::forward(std::span<const std::int32_t> ids, int logit_rows) {
    const kernels::Limits& limits = model_.limits;
    const int tokens = static_cast<int>(ids.size()) / sequences_;
    NARAE_CHECK(tokens > 0 && static_cast<std::size_t>(tokens) * static_cast<std::size_t>(sequences_) == ids.size(),
                "{} ids for {} sequences", ids.size(), sequences_);
    NARAE_CHECK(static_cast<int>(ids.size()) <= limits.max_rows, "{} rows, at most {}", ids.size(), limits.max_rows);
    NARAE_CHECK(length_ + tokens <= limits.max_context, "{} and {} tokens in a context of {}", length_, tokens,
                limits.max_context);
    NARAE_CHECK(logit_rows >= 0 && logit_rows <= tokens && logit_rows * sequences_ <= limits.max_logit_rows,
                "logits of {} of {} tokens, at most {} rows", logit_rows, tokens, limits.max_logit_rows);
    for (const std::int32_t id : ids)
        NARAE_CHECK(id >= 0 && id < model_.config().vocab, "token id {} in a vocabulary of {}", id, model_.config().vocab);

    for (const auto& storage : kv_) storage->reserve_blocks(std::int64_t{blocks_of(length_ + tokens)} * sequences_);
    const kernels::Batch batch = fill(ids, tokens, logit_rows);
    kernels::Backend& backend = *model_.backend;
    const kernels::StepKey key = (static_cast<std::uint64_t>(batch.rows) << 40) ^
                                 (static_cast<std::uint64_t>(batch.sequences) << 20) ^ batch.logit_rows.size();
    backend.wait(backend.step(key, [&] { model_.decoder.forward(backend, batch, kv_, model_.workspace); }));
    length_ += tokens;
}

std::int64_t Lockstep::kv_bytes() const {
    std::int64_t bytes = 0;
    for (const auto& storage : kv_) bytes += storage->reserved_blocks() * storage->group().block_bytes();
    return bytes;
}

}  // namespace narae::bench
