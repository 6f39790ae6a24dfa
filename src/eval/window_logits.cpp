#include "eval/window_logits.h"

#include "base/error.h"

#include <algorithm>

namespace narae::eval {

using kernels::kBlockTokens;

WindowLimits window_limits(int window, int vocab, int step_rows, int rows, int sequences, std::int64_t logit_bytes) {
    WindowLimits limits;
    limits.rows = rows > 0 ? rows : step_rows;
    // So many windows that a step can be full; one step of longer windows is a part of one.
    limits.sequences = sequences > 0 ? sequences : std::max(1, limits.rows / window);
    limits.rows = std::max(limits.sequences,
                           static_cast<int>(std::min<std::int64_t>(limits.rows, std::int64_t{window} * limits.sequences)));
    const std::int64_t fit = logit_bytes / (std::int64_t{4} * std::max(vocab, 1));
    limits.logit_rows = static_cast<int>(std::clamp<std::int64_t>(fit, 1, limits.rows));
    return limits;
}

struct WindowLogits::Sequence {
    std::int64_t index = 0;  // of the window
    Window window;
    int slot = 0;
    int computed = 0;
    int rows() const { return window.length - 1; }  // the last token predicts nothing that counts
};

WindowLogits::WindowLogits(Model& model) : model_(model) {
    for (const kernels::KvGroup& group : model.shape.groups) kv_.push_back(model.backend->make_kv(group));
    host_.resize(static_cast<std::size_t>(model.limits.max_logit_rows) * static_cast<std::size_t>(model.config().vocab));
}

WindowLogits::~WindowLogits() = default;

void WindowLogits::run(std::span<const std::int32_t> ids, std::span<const Window> windows, std::int32_t bos,
                       FunctionRef<void(const LogitRows&)> rows) {
    const kernels::Limits& limits = model_.limits;
    const int vocab = model_.config().vocab;
    for (const Window& window : windows) {
        NARAE_CHECK(window.begin >= 0 && window.length >= 2 && window.first_target >= 1 &&
                        window.begin + window.length <= static_cast<std::int64_t>(ids.size()),
                    "window [{}, +{}) of {} ids", window.begin, window.length, ids.size());
        if (window.length > limits.max_context)
            throw_error<UsageError>("a window of {} tokens, but the context holds {}; give a smaller --window", window.length,
                                    limits.max_context);
        for (const std::int32_t id :
             ids.subspan(static_cast<std::size_t>(window.begin), static_cast<std::size_t>(window.length)))
            if (id < 0 || id >= vocab)
                throw_error<UsageError>("token id {} is outside the vocabulary, need 0 to {}; is this the model's tokenizer?",
                                        id, vocab - 1);
    }
    const std::int64_t blocks = (limits.max_context + kBlockTokens - 1) / kBlockTokens;
    const std::size_t at_once = std::min(windows.size(), static_cast<std::size_t>(limits.max_sequences));
    for (const auto& storage : kv_) storage->reserve_blocks(blocks * static_cast<std::int64_t>(at_once));

    for (std::size_t first = 0; first < windows.size(); first += at_once) {
        std::vector<Sequence> open;
        for (std::size_t i = first; i < std::min(first + at_once, windows.size()); ++i) {
            Sequence sequence;
            sequence.index = static_cast<std::int64_t>(i);
            sequence.window = windows[i];
            sequence.slot = static_cast<int>(i - first);
            open.push_back(sequence);
        }
        while (!open.empty()) {
            step(open, ids, bos, rows);
            std::erase_if(open, [](const Sequence& sequence) { return sequence.computed == sequence.rows(); });
        }
    }
}

void WindowLogits::step(std::span<Sequence> open, std::span<const std::int32_t> ids, std::int32_t bos,
                        FunctionRef<void(const LogitRows&)> rows) {
    const kernels::BatchBuffers& buffers = model_.workspace.batch;
    const auto stride = static_cast<std::size_t>(buffers.table_stride);
    const auto max_rows = static_cast<std::size_t>(model_.limits.max_rows);
    const auto max_logit_rows = static_cast<std::size_t>(model_.limits.max_logit_rows);
    std::size_t row = 0, sequences = 0;
    rows_.clear();
    for (Sequence& sequence : open) {
        const int first = sequence.computed;
        for (; sequence.computed < sequence.rows() && row < max_rows; ++sequence.computed, ++row) {
            const bool counts = sequence.computed + 1 >= sequence.window.first_target;
            if (counts && rows_.size() == max_logit_rows) break;
            const std::int32_t id = ids[static_cast<std::size_t>(sequence.window.begin + sequence.computed)];
            buffers.ids[row] = sequence.computed == 0 && bos >= 0 ? bos : id;
            buffers.positions[row] = sequence.computed;
            buffers.row_sequence[row] = static_cast<std::int32_t>(sequences);
            if (!counts) continue;
            buffers.logit_rows[rows_.size()] = static_cast<std::int32_t>(row);
            rows_.push_back({sequence.index, sequence.computed + 1});
        }
        if (sequence.computed == first) break;
        buffers.row_begin[sequences] = static_cast<std::int32_t>(row) - (sequence.computed - first);
        buffers.slots[sequences] = sequence.slot;
        const std::int32_t blocks = (sequence.computed + kBlockTokens - 1) / kBlockTokens;
        const auto blocks_each = static_cast<std::int32_t>((model_.limits.max_context + kBlockTokens - 1) / kBlockTokens);
        for (const auto& table : buffers.block_tables)
            for (std::int32_t b = 0; b < blocks; ++b)
                table[sequences * stride + static_cast<std::size_t>(b)] = sequence.slot * blocks_each + b;
        ++sequences;
    }
    buffers.row_begin[sequences] = static_cast<std::int32_t>(row);

    const kernels::Batch batch = kernels::batch_of(buffers, row, sequences, rows_.size());

    kernels::Backend& backend = *model_.backend;
    const kernels::StepKey key = (static_cast<std::uint64_t>(batch.rows) << 40) ^
                                 (static_cast<std::uint64_t>(batch.sequences) << 20) ^ batch.logit_rows.size();
    backend.wait(backend.step(key, [&] { model_.decoder.forward(backend, batch, kv_, model_.workspace); }));
    if (rows_.empty()) return;
    const auto vocab = static_cast<std::size_t>(model_.config().vocab);
    const std::span<float> logits = std::span(host_).first(rows_.size() * vocab);
    backend.copy_to_host(make_tensor(model_.workspace.logits.data, DType::f32,
                                     Shape{static_cast<std::int64_t>(rows_.size()), static_cast<std::int64_t>(vocab)}),
                         std::as_writable_bytes(logits));
    rows({rows_, logits});
}

}  // namespace narae::eval
