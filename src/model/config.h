// A decoder-only transformer as data: what a family file reads out of config.json or GGUF metadata, and all that
// Decoder::forward needs to know. Adding an architecture means filling this, not writing another forward pass.
#pragma once

#include "kernels/backend.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace narae {

// Rotary position embedding and its scalings (Su et al. 2021; transformers' modeling_rope_utils.py).
struct RopeConfig {
    double theta = 10000.0;
    double partial = 1.0;          // share of head_dim that rotates
    bool interleaved = false;      // pairs (2i, 2i + 1), as GGUF stores Llama; otherwise halves, as Hugging Face does
    std::string type = "default";  // default, linear, dynamic, llama3, yarn, longrope, or factors (a table out of the file)
    double factor = 1.0;
    std::int64_t original_max_positions = 0;                         // 0: max_positions
    double low_freq_factor = 1.0, high_freq_factor = 4.0;            // llama3
    double beta_fast = 32.0, beta_slow = 1.0;                        // yarn
    bool truncate = true;                                            // yarn
    std::optional<double> attention_factor, mscale, mscale_all_dim;  // yarn, longrope
    std::vector<double> short_factor, long_factor;                   // longrope; `factors`: long_factor divides every frequency
};

enum class Positions : std::uint8_t { rope, learned };

struct ModelConfig {
    std::string family;        // "llama"
    std::string architecture;  // as the file names it: "LlamaForCausalLM"
    int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0;
    int max_positions = 0;

    kernels::NormKind norm = kernels::NormKind::rms;
    float norm_eps = 1e-5f;

    Positions positions = Positions::rope;
    RopeConfig rope;
    int position_offset = 0;  // of learned positions

    kernels::Activation activation = kernels::Activation::silu;
    bool gated = true;  // down(act(gate) * up), otherwise down(act(up))
    bool qkv_bias = false, o_bias = false, mlp_bias = false;
    bool tied_head = false;

    float attention_scale = 0.0f;           // 0: head_dim^-0.5
    bool attention_scale_by_layer = false;  // divided by the layer's number, from 1 (GPT-2's scale_attn_by_inverse_layer_idx)
    float attention_soft_cap = 0.0f, logit_soft_cap = 0.0f;
    std::vector<int> windows;  // [layers]; 0: full attention; empty: all full
    float embedding_scale = 1.0f, residual_scale = 1.0f, logit_scale = 1.0f;

    std::vector<std::int32_t> bos_ids, eos_ids;

    int rotary_dim() const { return positions == Positions::rope ? static_cast<int>(head_dim * rope.partial) / 2 * 2 : 0; }
    float scale_of_layer(int layer) const;
};

// One check of everything that arithmetic later relies on: no zero or negative sizes, heads that divide, limits of layers,
// vocabulary, heads and hidden. BadFileError naming `what` and the key.
void validate(const ModelConfig& config, std::string_view what);

// Layers by equal window and head shape, for the KV cache: groups and, per layer, (group, index in it).
struct KvPlacement {
    std::vector<kernels::KvGroup> groups;
    std::vector<std::pair<int, int>> layers;
};
KvPlacement place_kv(const ModelConfig& config, kernels::KvType type);

// Frequencies of a rotary embedding for sequences limited to `context` tokens: [rotary_dim / 2] float32, and the factor on
// cos and sin. `dynamic` and `longrope` depend on the length: narae takes the run's limit, so that a sequence's result does
// not depend on how its text was cut into steps.
struct RotaryFrequencies {
    std::vector<float> inverse;
    float scaling = 1.0f;
};
RotaryFrequencies rotary_frequencies(const RopeConfig& rope, int rotary_dim, std::int64_t max_positions, std::int64_t context);

}  // namespace narae
