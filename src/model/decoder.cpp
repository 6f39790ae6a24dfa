#include "model/decoder.h"

namespace narae {
namespace {

const kernels::Norm* pointer(const std::optional<kernels::Norm>& norm) { return norm ? &*norm : nullptr; }

}  // namespace

// Vaswani et al. 2017, decoder only, with the norms before each half (Radford et al. 2019; Touvron et al. 2023):
//   x = embedding[id] (+ position)
//   each layer:  x = x + O attention(QKV norm(x));   x = x + Down(act(Gate norm(x)) * Up norm(x))
//   logits = Head norm(x)
void Decoder::forward(kernels::Backend& b, const kernels::Batch& batch, std::span<const std::unique_ptr<kernels::KvStorage>> kv,
                      const kernels::Workspace& w, const kernels::Observer* observer) const {
    const int rows = batch.rows;
    const float residual = config.residual_scale;

    b.embed(batch, *embedding, config.embedding_scale, position_embedding, config.position_offset, w.x);
    if (rope.rotary_dim > 0) b.rope_table(batch, frequencies.inverse, frequencies.scaling, w.rope);

    for (const DecoderLayer& l : layers) {
        const kernels::KvLayer cache{kv[static_cast<std::size_t>(l.kv_group)].get(), l.kv_group, l.kv_layer};
        b.qkv(batch, w.x, l.attention_norm, l.qkv, pointer(l.q_norm), pointer(l.k_norm), rope, w.rope, cache, w.q, observer);
        b.attention(batch, w.q, l.attention, cache, w.attention);
        b.project_add(rows, w.attention, l.o, pointer(l.post_attention_norm), residual, w.x, observer);
        b.gate_up(rows, w.x, l.mlp_norm, l.gate_up, config.activation, w.ffn, observer);
        b.project_add(rows, w.ffn, l.down, pointer(l.post_mlp_norm), residual, w.x, observer);
    }
    b.logits(batch, w.x, final_norm, head, config.logit_scale, config.logit_soft_cap, w.logits, observer);
}

}  // namespace narae
