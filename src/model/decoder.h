// The decoder: weights as the backend holds them plus the configuration, and the forward pass. Immutable after loading; one
// thread at a time runs forward().
#pragma once

#include "kernels/backend.h"
#include "model/config.h"

#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace narae {

struct DecoderLayer {
    kernels::Norm attention_norm, mlp_norm;
    std::optional<kernels::Norm> q_norm, k_norm, post_attention_norm, post_mlp_norm;
    kernels::Linear qkv;  // rows: q, k, v
    kernels::Linear o;
    kernels::Linear gate_up;  // interleaved, or the up projection alone where the MLP is plain
    kernels::Linear down;
    kernels::AttentionParameters attention;
    int kv_group = 0, kv_layer = 0;
};

struct Decoder {
    ModelConfig config;
    const kernels::DeviceWeight* embedding = nullptr;           // [vocab, hidden]
    const kernels::DeviceWeight* position_embedding = nullptr;  // [positions, hidden], or null
    std::vector<DecoderLayer> layers;
    kernels::Norm final_norm;
    kernels::Linear head;
    kernels::Rope rope;
    RotaryFrequencies frequencies;
    std::vector<std::unique_ptr<kernels::DeviceWeight>> owned;  // what the pointers above point to

    // One step: hidden states of the batch's rows through all layers, logits of batch.logit_rows into workspace.logits.
    // kv: one storage per group. The observer, where given, sees every Linear's input.
    void forward(kernels::Backend& backend, const kernels::Batch& batch,
                 std::span<const std::unique_ptr<kernels::KvStorage>> kv, const kernels::Workspace& workspace,
                 const kernels::Observer* observer = nullptr) const;
};

}  // namespace narae
