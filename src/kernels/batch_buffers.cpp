#include "base/error.h"
#include "kernels/batch.h"

namespace narae::kernels {
namespace {

int blocks_of(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

std::int64_t batch_buffer_elements(int max_rows, int max_sequences, int max_logit_rows, int max_context, int groups) {
    return std::int64_t{4} * max_rows + 2 * std::int64_t{max_sequences} + 1 + max_logit_rows +
           std::int64_t{groups} * max_sequences * blocks_of(max_context);
}

BatchBuffers cut_batch_buffers(std::span<std::int32_t> memory, int max_rows, int max_sequences, int max_logit_rows,
                               int max_context, int groups) {
    NARAE_CHECK(static_cast<std::int64_t>(memory.size()) >=
                    batch_buffer_elements(max_rows, max_sequences, max_logit_rows, max_context, groups),
                "{} elements", memory.size());
    std::size_t used = 0;
    const auto cut = [&](std::int64_t count) {
        const auto part = memory.subspan(used, static_cast<std::size_t>(count));
        used += static_cast<std::size_t>(count);
        return part;
    };
    BatchBuffers buffers;
    buffers.ids = cut(max_rows);
    buffers.positions = cut(max_rows);
    buffers.row_sequence = cut(max_rows);
    buffers.adapters = cut(max_rows);
    buffers.row_begin = cut(std::int64_t{max_sequences} + 1);
    buffers.slots = cut(max_sequences);
    buffers.logit_rows = cut(max_logit_rows);
    buffers.table_stride = blocks_of(max_context);
    for (int group = 0; group < groups; ++group)
        buffers.block_tables.push_back(cut(std::int64_t{max_sequences} * buffers.table_stride));
    return buffers;
}

Batch batch_of(const BatchBuffers& buffers, std::size_t rows, std::size_t sequences, std::size_t logit_rows) {
    Batch batch;
    batch.rows = static_cast<int>(rows);
    batch.sequences = static_cast<int>(sequences);
    batch.ids = buffers.ids.first(rows);
    batch.positions = buffers.positions.first(rows);
    batch.row_sequence = buffers.row_sequence.first(rows);
    batch.row_begin = buffers.row_begin.first(sequences + 1);
    batch.slots = buffers.slots.first(sequences);
    batch.logit_rows = buffers.logit_rows.first(logit_rows);
    for (const auto& table : buffers.block_tables) batch.block_tables.push_back(table);
    batch.table_stride = buffers.table_stride;
    return batch;
}

}  // namespace narae::kernels
