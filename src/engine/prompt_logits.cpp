#include "engine/prompt_logits.h"

#include "base/error.h"

#include <algorithm>

namespace narae {

void prompt_logits(Model& model, std::span<const std::int32_t> ids, int step,
                   FunctionRef<void(std::int64_t, std::span<const float>)> row, const kernels::Observer* observer) {
    const kernels::Limits& limits = model.limits;
    const auto count = static_cast<std::int64_t>(ids.size());
    if (ids.empty()) throw_error<UsageError>("no token ids; give at least one");
    if (count > limits.max_context)
        throw_error<UsageError>("{} tokens, but the context holds {}; shorten the text or raise --ctx-size", count,
                                limits.max_context);
    for (std::int32_t id : ids)
        if (id < 0 || id >= model.config().vocab)
            throw_error<UsageError>("token id {} is outside the vocabulary, need 0 to {}", id, model.config().vocab - 1);

    std::vector<std::unique_ptr<kernels::KvStorage>> kv;
    const std::int64_t blocks = (count + kernels::kBlockTokens - 1) / kernels::kBlockTokens;
    for (const kernels::KvGroup& group : model.shape.groups) {
        kv.push_back(model.backend->make_kv(group));
        kv.back()->reserve_blocks(blocks);
    }
    const kernels::BatchBuffers& buffers = model.workspace.batch;
    for (const auto& table : buffers.block_tables)
        for (std::int64_t block = 0; block < blocks; ++block)
            table[static_cast<std::size_t>(block)] = static_cast<std::int32_t>(block);

    // Every row gets logits, so a step is no longer than the logits buffer.
    const std::int64_t rows_per_step =
        std::min<std::int64_t>({step > 0 ? step : limits.max_rows, limits.max_rows, limits.max_logit_rows});
    std::vector<float> host(static_cast<std::size_t>(rows_per_step) * static_cast<std::size_t>(model.config().vocab));
    for (std::int64_t begin = 0; begin < count; begin += rows_per_step) {
        const std::int64_t rows = std::min(rows_per_step, count - begin);
        for (std::int64_t r = 0; r < rows; ++r) {
            const auto at = static_cast<std::size_t>(r);
            buffers.ids[at] = ids[static_cast<std::size_t>(begin + r)];
            buffers.positions[at] = static_cast<std::int32_t>(begin + r);
            buffers.row_sequence[at] = 0;
            buffers.logit_rows[at] = static_cast<std::int32_t>(r);
        }
        buffers.row_begin[0] = 0;
        buffers.row_begin[1] = static_cast<std::int32_t>(rows);
        buffers.slots[0] = 0;
        const auto n = static_cast<std::size_t>(rows);
        const kernels::Batch batch = kernels::batch_of(buffers, n, 1, n);

        kernels::Backend& backend = *model.backend;
        backend.wait(backend.step(static_cast<std::uint64_t>(rows),
                                  [&] { model.decoder.forward(backend, batch, kv, model.workspace, observer); }));
        const std::size_t vocab = static_cast<std::size_t>(model.config().vocab);
        backend.copy_to_host(
            make_tensor(model.workspace.logits.data, DType::f32, Shape{rows, static_cast<std::int64_t>(vocab)}),
            std::as_writable_bytes(std::span(host).first(n * vocab)));
        for (std::int64_t r = 0; r < rows; ++r)
            row(begin + r, std::span<const float>(host).subspan(static_cast<std::size_t>(r) * vocab, vocab));
    }
}

}  // namespace narae
