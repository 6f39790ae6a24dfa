#include "support/tiny_decoder.h"

#include <cmath>

namespace narae::test {

using kernels::Activations;
using kernels::Fuse;

TinyDecoder::TinyDecoder(kernels::Backend& backend, Activations activations) : backend_(backend) {
    const kernels::KvGroup group{
        .layers = kLayers, .kv_heads = kKvHeads, .head_dim = kHeadDim, .window = 0, .type = kernels::KvType::f16};
    kernels::ModelShape shape;
    shape.layers = kLayers;
    shape.hidden = kHidden;
    shape.heads = kHeads;
    shape.kv_heads = kKvHeads;
    shape.head_dim = kHeadDim;
    shape.ffn = kFfn;
    shape.vocab = kVocab;
    shape.rotary_dim = kHeadDim;
    shape.groups = {group};
    shape.activations = activations;
    kernels::Limits limits;
    limits.max_rows = limits.max_logit_rows = kSequences * kBlocksEach * kernels::kBlockTokens;
    limits.max_sequences = kSequences;
    limits.max_context = kBlocksEach * kernels::kBlockTokens;
    workspace_ = backend.allocate(shape, limits);
    kv_ = backend.make_kv(group);

    constexpr int kAttention = kHeads * kHeadDim, kKv = kKvHeads * kHeadDim;
    head_ = prepare({{"q8_0", kVocab}}, kHidden, Fuse::none, activations);
    owned_.push_back(random_weight(*find_format("f16"), kVocab, kHidden, 1));
    embedding_ = backend.prepare_table(owned_.back().weight);
    for (int l = 0; l < kLayers; ++l)
        layers_.push_back({prepare_qkv({{"q4_0", kAttention}, {"q4_0", kKv}, {"q8_0", kKv}}, activations),
                           prepare({{"q4_1", kHidden}}, kAttention, Fuse::none, activations),
                           prepare({{"q4_0", kFfn}, {"q4_0", kFfn}}, kHidden, Fuse::interleaved, activations),
                           prepare({{"bf16", kHidden}}, kFfn, Fuse::none, activations)});
    norm_.weight = backend.upload(std::vector<float>(kHidden, 1.0f));
    for (int i = 0; i < kHeadDim / 2; ++i) inv_freq_.push_back(std::pow(10000.0f, -2.0f * static_cast<float>(i) / kHeadDim));
}

std::vector<PackedWeight> TinyDecoder::random_parts(Formats parts, std::int64_t in) {
    std::vector<PackedWeight> packed;
    for (const auto& [name, out] : parts) {
        owned_.push_back(random_weight(*find_format(name), out, in, 10 + owned_.size()));
        packed.push_back(owned_.back().weight);
    }
    return packed;
}

std::unique_ptr<kernels::DeviceWeight> TinyDecoder::prepare(Formats parts, std::int64_t in, Fuse fuse,
                                                            Activations activations) {
    return backend_.prepare(random_parts(parts, in), fuse, activations);
}

std::unique_ptr<kernels::DeviceWeight> TinyDecoder::prepare_qkv(Formats parts, Activations activations) {
    return backend_.prepare_qkv(random_parts(parts, kHidden), {(kHeads + kKvHeads) * kHeadDim, kHeadDim, {kHeadDim, false}},
                                activations);
}

void TinyDecoder::forward(const kernels::Batch& batch) {
    const kernels::Workspace& w = workspace_;
    const kernels::AttentionParameters attention{.heads = kHeads,
                                                 .scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim)),
                                                 .soft_cap = 0.0f,
                                                 .alibi_slopes = {},
                                                 .sinks = {}};
    backend_.embed(batch, *embedding_, 4.0f, nullptr, 0, w.x);
    backend_.rope_table(batch, inv_freq_, 1.0f, w.rope);
    for (int l = 0; l < kLayers; ++l) {
        const Layer& layer = layers_[static_cast<std::size_t>(l)];
        const kernels::KvLayer kv{kv_.get(), 0, l};
        backend_.qkv(batch, w.x, norm_, {layer.qkv.get(), {}}, nullptr, nullptr, {kHeadDim, false}, w.rope, kv, w.q);
        backend_.attention(batch, w.q, attention, kv, w.attention);
        backend_.project_add(batch.rows, w.attention, {layer.out.get(), {}}, nullptr, 1.0f, w.x);
        backend_.gate_up(batch.rows, w.x, norm_, {layer.gate_up.get(), {}}, kernels::Activation::silu, w.ffn);
        backend_.project_add(batch.rows, w.ffn, {layer.down.get(), {}}, nullptr, 1.0f, w.x);
    }
    backend_.logits(batch, w.x, norm_, {head_.get(), {}}, 1.0f, 0.0f, w.logits);
}

std::vector<float> TinyDecoder::step(std::span<const SequenceRows> parts, std::span<const std::vector<std::int32_t>> ids) {
    TestBatch batch(parts, kSequences, kBlocksEach);
    for (std::size_t r = 0; r < batch.ids.size(); ++r) {
        const auto sequence = static_cast<std::size_t>(parts[static_cast<std::size_t>(batch.row_sequence[r])].sequence);
        batch.ids[r] = ids[sequence][static_cast<std::size_t>(batch.positions[r])];
        batch.logit_rows.push_back(static_cast<std::int32_t>(r));
    }
    batch.refresh();
    kv_->reserve_blocks(batch.blocks);
    backend_.wait(backend_.step(1, [&] { forward(batch.batch); }));
    std::vector<float> logits(batch.ids.size() * kVocab);
    backend_.copy_to_host(workspace_.logits, std::as_writable_bytes(std::span(logits)));
    return logits;
}

std::vector<kernels::Sampled> TinyDecoder::generate(std::int32_t first, int tokens) {
    kernels::SamplingParameters greedy;
    greedy.temperature = 0.0f;
    std::vector<kernels::Sampled> chosen;
    for (int i = 0; i < tokens; ++i) {
        const std::vector<SequenceRows> one = {{0, i, 1}};
        TestBatch batch(one, kSequences, kBlocksEach);
        constexpr std::int32_t kSlot = 2;
        batch.ids = {i == 0 ? first : -1 - kSlot};
        batch.slots = {kSlot};
        batch.logit_rows = {0};
        batch.refresh();
        kv_->reserve_blocks(batch.blocks);
        kernels::SamplingRow row;
        row.parameters = &greedy;
        row.position = i + 1;
        const kernels::Ticket ticket = backend_.step(2, [&] {
            forward(batch.batch);
            Tensor logits = workspace_.logits;
            logits.shape = {1, kVocab};
            backend_.sample(logits, std::span(&row, 1), batch.slots);
        });
        const std::span<const kernels::Sampled> sampled = backend_.wait(ticket);
        chosen.insert(chosen.end(), sampled.begin(), sampled.end());
    }
    return chosen;
}

}  // namespace narae::test
