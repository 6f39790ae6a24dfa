#include "quant/block_runner.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>

namespace narae {
namespace {

using kernels::Fuse;

constexpr std::int64_t kRowsAtOnce = 1024;

const kernels::Norm* pointer(const std::optional<kernels::Norm>& norm) { return norm ? &*norm : nullptr; }

std::vector<Slot> slots_of(const Source& source, int layer, Product product) {
    switch (product) {
        case Product::qkv:
            if (source.find(layer, Slot::qkv)) return {Slot::qkv};
            return {Slot::q, Slot::k, Slot::v};
        case Product::o:
            return {Slot::o};
        case Product::gate_up:
            if (source.config().gated) return {Slot::gate, Slot::up};
            return {Slot::up};
        case Product::down:
            return {Slot::down};
    }
    return {};
}

std::vector<Slot> bias_slots_of(const Source& source, int layer, Product product) {
    switch (product) {
        case Product::qkv:
            if (source.find(layer, Slot::qkv)) return {Slot::qkv_bias};
            return {Slot::q_bias, Slot::k_bias, Slot::v_bias};
        case Product::o:
            return {Slot::o_bias};
        case Product::gate_up:
            if (source.config().gated) return {Slot::gate_bias, Slot::up_bias};
            return {Slot::up_bias};
        case Product::down:
            return {Slot::down_bias};
    }
    return {};
}

}  // namespace

std::vector<const WeightSlot*> weights_of(const Source& source, int layer, Product product) {
    std::vector<const WeightSlot*> weights;
    for (const Slot slot : slots_of(source, layer, product)) {
        const WeightSlot* found = source.find(layer, slot);
        NARAE_CHECK(found, "layer {} has no {}", layer, slot_name(slot));
        weights.push_back(found);
    }
    return weights;
}

BlockRunner::BlockRunner(const Source& source, const CalibrationSet& set, const kernels::BackendOptions& options)
    : source_(source), set_(set), backend_(kernels::open_backend(options)) {
    const ModelConfig& c = source.config();
    NARAE_CHECK(backend_->device() == "cpu" || backend_->device() == "ref", "calibration on {}", backend_->device());
    if (c.positions == Positions::learned && set.tokens > c.max_positions)
        throw_error<UsageError>("samples of {} tokens: the model has {} learned positions; give at most so many with --seq-len",
                                set.tokens, c.max_positions);
    for (const std::int32_t id : set.ids)
        if (id < 0 || id >= c.vocab)
            throw_error<UsageError>(
                "token id {} of the calibration text is outside the vocabulary, need 0 to {}; is this the "
                "model's tokenizer?",
                id, c.vocab - 1);
    samples_at_once_ = static_cast<int>(std::clamp<std::int64_t>(kRowsAtOnce / set.tokens, 1, set.samples));
    kernels::ModelShape shape;
    shape.layers = 1;
    shape.hidden = c.hidden;
    shape.heads = c.heads;
    shape.kv_heads = c.kv_heads;
    shape.head_dim = c.head_dim;
    shape.ffn = c.ffn;
    shape.vocab = 1;
    shape.gated = c.gated;
    shape.rotary_dim = c.rotary_dim();
    shape.groups = {{.layers = 1, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .window = 0, .type = kernels::KvType::f32}};
    shape.activations = kernels::Activations::f32;
    kernels::Limits limits;
    limits.max_rows = samples_at_once_ * set.tokens;
    limits.max_sequences = samples_at_once_;
    limits.max_context = set.tokens;
    limits.max_logit_rows = 1;
    workspace_ = backend_->allocate(shape, limits);
    if (c.positions == Positions::rope) {
        rope_ = {c.rotary_dim(), c.rope.interleaved};
        frequencies_ = rotary_frequencies(c.rope, c.rotary_dim(), c.max_positions, set.tokens);
    }

    hidden_.resize(set.ids.size() * static_cast<std::size_t>(c.hidden));
    const WeightSlot* const positions_slot = source.find(-1, Slot::position_embedding);
    const Source::Saved embedding = source.saved(*source.find(-1, Slot::token_embedding));
    const std::optional<Source::Saved> positions = positions_slot ? std::optional(source.saved(*positions_slot)) : std::nullopt;
    const auto width = static_cast<std::size_t>(c.hidden);
    std::vector<float> of_position(width);
    for (std::size_t row = 0; row < set.ids.size(); ++row) {
        float* to = hidden_.data() + row * width;
        const std::int64_t id = set.ids[row];
        embedding.packed.format->unpack(embedding.packed, id, id + 1, to);
        for (std::size_t i = 0; i < width; ++i) to[i] *= c.embedding_scale;
        if (!positions) continue;
        const std::int64_t position = static_cast<std::int64_t>(row) % set.tokens + c.position_offset;
        positions->packed.format->unpack(positions->packed, position, position + 1, of_position.data());
        for (std::size_t i = 0; i < width; ++i) to[i] += of_position[i];
    }
}

void BlockRunner::load_block(int layer) {
    const ModelConfig& c = source_.config();
    const auto upload = [&](int of, Slot slot) {
        const WeightSlot* found = source_.find(of, slot);
        return found ? backend_->upload(source_.values(*found)) : Tensor{};
    };
    const auto norm = [&](Slot weight, Slot bias) {
        return kernels::Norm{c.norm, c.norm_eps, upload(layer, weight), upload(layer, bias)};
    };
    const auto optional_norm = [&](Slot slot) -> std::optional<kernels::Norm> {
        if (!source_.find(layer, slot)) return std::nullopt;
        return kernels::Norm{c.norm, c.norm_eps, upload(layer, slot), {}};
    };
    layer_ = layer;
    attention_norm_ = norm(Slot::attention_norm, Slot::attention_norm_bias);
    mlp_norm_ = norm(Slot::mlp_norm, Slot::mlp_norm_bias);
    q_norm_ = optional_norm(Slot::q_norm);
    k_norm_ = optional_norm(Slot::k_norm);
    post_attention_norm_ = optional_norm(Slot::post_attention_norm);
    post_mlp_norm_ = optional_norm(Slot::post_mlp_norm);
    weights_.clear();
    biases_.clear();
    for (const Product product : kProducts) {
        std::vector<float> bias;
        for (const Slot slot : bias_slots_of(source_, layer, product))
            if (const WeightSlot* found = source_.find(layer, slot)) {
                const std::vector<float> part = source_.values(*found);
                bias.insert(bias.end(), part.begin(), part.end());
            }
        biases_[product] = bias.empty() ? Tensor{} : backend_->upload(bias);
    }
    const int window = c.windows.empty() ? 0 : c.windows[static_cast<std::size_t>(layer)];
    if (!kv_ || kv_window_ != window) {
        kv_ = backend_->make_kv(
            {.layers = 1, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .window = window, .type = kernels::KvType::f32});
        kv_window_ = window;
        const std::int64_t blocks = (set_.tokens + kernels::kBlockTokens - 1) / kernels::kBlockTokens;
        kv_->reserve_blocks(blocks * samples_at_once_);
    }
}

void BlockRunner::set_weights(Product product, std::span<const PackedWeight> weights) {
    const Fuse fuse = weights.size() == 1 ? Fuse::none : product == Product::gate_up ? Fuse::interleaved : Fuse::rows;
    weights_[product] = backend_->prepare(weights, fuse, kernels::Activations::f32);
}

// Calls `steps` for batches of whole samples whose hidden states lie in the workspace; takes them back where they change.
void BlockRunner::run(FunctionRef<void(const kernels::Batch&)> steps, bool changes) {
    const kernels::BatchBuffers& buffers = workspace_.batch;
    const auto width = static_cast<std::size_t>(source_.config().hidden);
    for (int first = 0; first < set_.samples; first += samples_at_once_) {
        const int samples = std::min(samples_at_once_, set_.samples - first), rows = samples * set_.tokens;
        const std::int64_t blocks = (set_.tokens + kernels::kBlockTokens - 1) / kernels::kBlockTokens;
        for (int r = 0; r < rows; ++r) {
            const auto at = static_cast<std::size_t>(r);
            buffers.ids[at] = 0;
            buffers.positions[at] = r % set_.tokens;
            buffers.row_sequence[at] = r / set_.tokens;
        }
        for (int s = 0; s < samples; ++s) {
            buffers.row_begin[static_cast<std::size_t>(s)] = s * set_.tokens;
            buffers.slots[static_cast<std::size_t>(s)] = 0;
            for (std::int64_t b = 0; b < blocks; ++b)
                buffers.block_tables[0][static_cast<std::size_t>(s * buffers.table_stride + b)] =
                    static_cast<std::int32_t>(s * blocks + b);
        }
        buffers.row_begin[static_cast<std::size_t>(samples)] = rows;
        const auto n = static_cast<std::size_t>(rows), m = static_cast<std::size_t>(samples);
        const kernels::Batch batch = kernels::batch_of(buffers, n, m, 0);
        float* states = hidden_.data() + static_cast<std::size_t>(first) * static_cast<std::size_t>(set_.tokens) * width;
        std::memcpy(workspace_.x.data, states, n * width * sizeof(float));
        if (rope_.rotary_dim > 0) backend_->rope_table(batch, frequencies_.inverse, frequencies_.scaling, workspace_.rope);
        steps(batch);
        if (changes) std::memcpy(states, workspace_.x.data, n * width * sizeof(float));
    }
}

void BlockRunner::attention_up_to_o(const kernels::Batch& batch) {
    const ModelConfig& c = source_.config();
    const kernels::KvLayer cache{kv_.get(), 0, 0};
    const kernels::AttentionParameters parameters{
        .heads = c.heads, .scale = c.scale_of_layer(layer_), .soft_cap = c.attention_soft_cap, .alibi_slopes = {}, .sinks = {}};
    backend_->qkv(batch, workspace_.x, attention_norm_, {weights_.at(Product::qkv).get(), biases_[Product::qkv]},
                  pointer(q_norm_), pointer(k_norm_), rope_, workspace_.rope, cache, workspace_.q);
    backend_->attention(batch, workspace_.q, parameters, cache, workspace_.attention);
}

void BlockRunner::watch(Product product, FunctionRef<void(std::span<const float>)> seen) {
    const ModelConfig& c = source_.config();
    const auto show = [&](const Tensor& x, int rows, std::int64_t columns) {
        seen({x.as<const float>(), static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns)});
    };
    run(
        [&](const kernels::Batch& batch) {
            switch (product) {
                case Product::qkv:
                case Product::gate_up: {
                    const Tensor normed = backend_->scratch(0, batch.rows, c.hidden);
                    backend_->norm(batch.rows, workspace_.x, product == Product::qkv ? attention_norm_ : mlp_norm_, normed);
                    return show(normed, batch.rows, c.hidden);
                }
                case Product::o:
                    attention_up_to_o(batch);
                    return show(workspace_.attention, batch.rows, std::int64_t{c.heads} * c.head_dim);
                case Product::down:
                    backend_->gate_up(batch.rows, workspace_.x, mlp_norm_,
                                      {weights_.at(Product::gate_up).get(), biases_[Product::gate_up]}, c.activation,
                                      workspace_.ffn);
                    return show(workspace_.ffn, batch.rows, c.ffn);
            }
        },
        false);
}

void BlockRunner::attention_output(FunctionRef<void(std::span<const float>)> seen) {
    run(
        [&](const kernels::Batch& batch) {
            attention_up_to_o(batch);
            const Tensor y = backend_->scratch(1, batch.rows, source_.config().hidden);
            backend_->linear(batch.rows, workspace_.attention, {weights_.at(Product::o).get(), biases_[Product::o]}, y);
            seen({y.as<const float>(), static_cast<std::size_t>(y.shape.elements())});
        },
        false);
}

void BlockRunner::mlp_output(FunctionRef<void(std::span<const float>)> seen) {
    const ModelConfig& c = source_.config();
    run(
        [&](const kernels::Batch& batch) {
            backend_->gate_up(batch.rows, workspace_.x, mlp_norm_,
                              {weights_.at(Product::gate_up).get(), biases_[Product::gate_up]}, c.activation, workspace_.ffn);
            const Tensor y = backend_->scratch(1, batch.rows, c.hidden);
            backend_->linear(batch.rows, workspace_.ffn, {weights_.at(Product::down).get(), biases_[Product::down]}, y);
            seen({y.as<const float>(), static_cast<std::size_t>(y.shape.elements())});
        },
        false);
}

void BlockRunner::add_attention() {
    run(
        [&](const kernels::Batch& batch) {
            attention_up_to_o(batch);
            backend_->project_add(batch.rows, workspace_.attention, {weights_.at(Product::o).get(), biases_[Product::o]},
                                  pointer(post_attention_norm_), source_.config().residual_scale, workspace_.x);
        },
        true);
}

void BlockRunner::add_mlp() {
    const ModelConfig& c = source_.config();
    run(
        [&](const kernels::Batch& batch) {
            backend_->gate_up(batch.rows, workspace_.x, mlp_norm_,
                              {weights_.at(Product::gate_up).get(), biases_[Product::gate_up]}, c.activation, workspace_.ffn);
            backend_->project_add(batch.rows, workspace_.ffn, {weights_.at(Product::down).get(), biases_[Product::down]},
                                  pointer(post_mlp_norm_), c.residual_scale, workspace_.x);
        },
        true);
}

}  // namespace narae
