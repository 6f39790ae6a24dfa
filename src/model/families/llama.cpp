// Llama 1, 2, 3, 3.1, 3.2 and the many checkpoints that use the class unchanged (TinyLlama, SmolLM2, Yi, Solar, ...).
// Sources: Touvron et al. 2023; Grattafiori et al. 2024; transformers' configuration_llama.py and modeling_llama.py; GGUF's
// llama keys (llama.cpp, gguf-py constants).
#include "base/error.h"
#include "model/family.h"

#include <algorithm>
#include <cmath>

namespace narae {
namespace {

ModelConfig read_config(const Json& json, std::string_view what) {
    ModelConfig c;
    c.architecture = "LlamaForCausalLM";
    c.hidden = read_positive(json, "hidden_size", what, 4096);
    c.layers = read_positive(json, "num_hidden_layers", what, 32);
    c.heads = read_positive(json, "num_attention_heads", what, 32);
    c.kv_heads = read_positive(json, "num_key_value_heads", what, c.heads);
    c.head_dim = read_positive(json, "head_dim", what, c.hidden / c.heads > 0 ? c.hidden / c.heads : 1);
    c.ffn = read_positive(json, "intermediate_size", what, 11008);
    c.vocab = read_positive(json, "vocab_size", what, 32000);
    c.max_positions = read_positive(json, "max_position_embeddings", what, 2048);
    c.norm_eps = static_cast<float>(get_double(json, "rms_norm_eps", what).value_or(1e-6));
    c.activation = parse_activation(get_string(json, "hidden_act", what).value_or("silu"), what);
    c.rope = read_rope(json, what, 10000.0);
    c.qkv_bias = c.o_bias = get_bool(json, "attention_bias", what).value_or(false);
    c.mlp_bias = get_bool(json, "mlp_bias", what).value_or(false);
    c.tied_head = get_bool(json, "tie_word_embeddings", what).value_or(false);
    c.bos_ids = read_ids(json, "bos_token_id", what);
    c.eos_ids = read_ids(json, "eos_token_id", what);
    return c;
}

int positive_key(const Metadata& metadata, std::string_view key, std::optional<int> fallback = {}) {
    const auto value = metadata.get_int(key);
    if (!value && fallback) return *fallback;
    if (!value) throw_error<BadFileError>("{}: {} is missing, need a positive integer", metadata.what, key);
    if (*value < 1 || *value > INT32_MAX)
        throw_error<BadFileError>("{}: {} is {}, need a positive integer", metadata.what, key, *value);
    return static_cast<int>(*value);
}

ModelConfig read_metadata(const Metadata& m) {
    ModelConfig c;
    c.architecture = "LlamaForCausalLM";
    c.hidden = positive_key(m, "llama.embedding_length");
    c.layers = positive_key(m, "llama.block_count");
    c.heads = positive_key(m, "llama.attention.head_count");
    c.kv_heads = positive_key(m, "llama.attention.head_count_kv", c.heads);
    c.head_dim = positive_key(m, "llama.attention.key_length", c.hidden / c.heads > 0 ? c.hidden / c.heads : 1);
    c.ffn = positive_key(m, "llama.feed_forward_length");
    c.vocab = positive_key(m, "llama.vocab_size", 0);
    c.max_positions = positive_key(m, "llama.context_length", 2048);
    c.norm_eps = static_cast<float>(m.get_double("llama.attention.layer_norm_rms_epsilon").value_or(1e-5));
    c.rope.interleaved = true;
    c.rope.theta = m.get_double("llama.rope.freq_base").value_or(10000.0);
    c.rope.partial = static_cast<double>(positive_key(m, "llama.rope.dimension_count", c.head_dim)) / c.head_dim;
    const std::string type(m.get_string("llama.rope.scaling.type").value_or("none"));
    c.rope.type = type == "none" ? "default" : type;
    c.rope.factor = m.get_double("llama.rope.scaling.factor").value_or(m.get_double("llama.rope.scale_linear").value_or(1.0));
    c.rope.original_max_positions = m.get_int("llama.rope.scaling.original_context_length").value_or(0);
    // GGUF's factor comes on top of YaRN's own; transformers' replaces it.
    if (const auto factor = m.get_double("llama.rope.scaling.attn_factor"); factor && c.rope.type == "yarn")
        c.rope.attention_factor = *factor * (0.1 * std::log(std::max(c.rope.factor, 1.0)) + 1.0);
    if (const auto id = m.get_int("tokenizer.ggml.bos_token_id")) c.bos_ids.push_back(static_cast<std::int32_t>(*id));
    if (const auto id = m.get_int("tokenizer.ggml.eos_token_id")) c.eos_ids.push_back(static_cast<std::int32_t>(*id));
    return c;
}

std::vector<WeightSlot> weights(const ModelConfig& c) {
    const std::int64_t hidden = c.hidden, q = std::int64_t{c.heads} * c.head_dim, kv = std::int64_t{c.kv_heads} * c.head_dim,
                       ffn = c.ffn;
    std::vector<WeightSlot> w;
    w.push_back({.slot = Slot::token_embedding,
                 .hf = "model.embed_tokens.weight",
                 .gguf = "token_embd.weight",
                 .shape = {c.vocab, hidden}});
    for (int i = 0; i < c.layers; ++i) {
        const std::string hf = fmt::format("model.layers.{}.", i), gguf = fmt::format("blk.{}.", i);
        const auto add = [&](Slot slot, std::string_view hf_name, std::string_view gguf_name, Shape shape, FuseGroup fuse,
                             Split split, int rotary_heads, bool optional) {
            w.push_back({slot, i, hf + std::string(hf_name), gguf + std::string(gguf_name), shape, optional, fuse, split, false,
                         rotary_heads});
        };
        const bool no_qkv_bias = !c.qkv_bias, no_o_bias = !c.o_bias, no_mlp_bias = !c.mlp_bias;
        add(Slot::attention_norm, "input_layernorm.weight", "attn_norm.weight", {hidden}, FuseGroup::none, Split::none, 0,
            false);
        add(Slot::q, "self_attn.q_proj.weight", "attn_q.weight", {q, hidden}, FuseGroup::qkv, Split::columns, c.heads, false);
        add(Slot::k, "self_attn.k_proj.weight", "attn_k.weight", {kv, hidden}, FuseGroup::qkv, Split::columns, c.kv_heads,
            false);
        add(Slot::v, "self_attn.v_proj.weight", "attn_v.weight", {kv, hidden}, FuseGroup::qkv, Split::columns, 0, false);
        add(Slot::q_bias, "self_attn.q_proj.bias", "attn_q.bias", {q}, FuseGroup::qkv, Split::columns, c.heads, no_qkv_bias);
        add(Slot::k_bias, "self_attn.k_proj.bias", "attn_k.bias", {kv}, FuseGroup::qkv, Split::columns, c.kv_heads,
            no_qkv_bias);
        add(Slot::v_bias, "self_attn.v_proj.bias", "attn_v.bias", {kv}, FuseGroup::qkv, Split::columns, 0, no_qkv_bias);
        add(Slot::o, "self_attn.o_proj.weight", "attn_output.weight", {hidden, q}, FuseGroup::none, Split::rows, 0, false);
        add(Slot::o_bias, "self_attn.o_proj.bias", "attn_output.bias", {hidden}, FuseGroup::none, Split::none, 0, no_o_bias);
        add(Slot::mlp_norm, "post_attention_layernorm.weight", "ffn_norm.weight", {hidden}, FuseGroup::none, Split::none, 0,
            false);
        add(Slot::gate, "mlp.gate_proj.weight", "ffn_gate.weight", {ffn, hidden}, FuseGroup::gate_up, Split::columns, 0, false);
        add(Slot::up, "mlp.up_proj.weight", "ffn_up.weight", {ffn, hidden}, FuseGroup::gate_up, Split::columns, 0, false);
        add(Slot::gate_bias, "mlp.gate_proj.bias", "ffn_gate.bias", {ffn}, FuseGroup::gate_up, Split::columns, 0, no_mlp_bias);
        add(Slot::up_bias, "mlp.up_proj.bias", "ffn_up.bias", {ffn}, FuseGroup::gate_up, Split::columns, 0, no_mlp_bias);
        add(Slot::down, "mlp.down_proj.weight", "ffn_down.weight", {hidden, ffn}, FuseGroup::none, Split::rows, 0, false);
        add(Slot::down_bias, "mlp.down_proj.bias", "ffn_down.bias", {hidden}, FuseGroup::none, Split::none, 0, no_mlp_bias);
    }
    w.push_back({.slot = Slot::final_norm, .hf = "model.norm.weight", .gguf = "output_norm.weight", .shape = {hidden}});
    w.push_back({.slot = Slot::head,
                 .hf = "lm_head.weight",
                 .gguf = "output.weight",
                 .shape = {c.vocab, hidden},
                 .optional = true,
                 .split = Split::columns});
    w.push_back(
        {.slot = Slot::rope_factors, .hf = "", .gguf = "rope_freqs.weight", .shape = {c.rotary_dim() / 2}, .optional = true});
    return w;
}

Json write_config(const ModelConfig& c) {
    Json json = {{"architectures", {c.architecture}},
                 {"model_type", "llama"},
                 {"hidden_size", c.hidden},
                 {"intermediate_size", c.ffn},
                 {"num_hidden_layers", c.layers},
                 {"num_attention_heads", c.heads},
                 {"num_key_value_heads", c.kv_heads},
                 {"head_dim", c.head_dim},
                 {"hidden_act", activation_config_name(c.activation)},
                 {"max_position_embeddings", c.max_positions},
                 {"rms_norm_eps", static_cast<double>(c.norm_eps)},
                 {"vocab_size", c.vocab},
                 {"attention_bias", c.qkv_bias},
                 {"mlp_bias", c.mlp_bias},
                 {"tie_word_embeddings", c.tied_head}};
    write_rope(c.rope, c.max_positions, json);
    return json;
}

// The scalings that GGUF's keys of a llama model can say; Llama 3's is a tensor.
bool rope_fits_metadata(const RopeConfig& rope) {
    if (rope.type == "yarn") {
        const RopeConfig plain;
        return rope.truncate && !rope.attention_factor && !rope.mscale && !rope.mscale_all_dim &&
               rope.beta_fast == plain.beta_fast && rope.beta_slow == plain.beta_slow;
    }
    return rope.type == "default" || rope.type == "linear" || rope.type == "llama3" || rope.type == "factors";
}

std::vector<MetadataEntry> write_metadata(const ModelConfig& c) {
    if (!rope_fits_metadata(c.rope))
        throw_error<BadFileError>("rope scaling {} with these parameters cannot be said in GGUF; keep the Hugging Face layout",
                                  c.rope.type);
    const auto u32 = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
    std::vector<MetadataEntry> m = {{"general.architecture", std::string("llama")},
                                    {"llama.context_length", u32(c.max_positions)},
                                    {"llama.embedding_length", u32(c.hidden)},
                                    {"llama.block_count", u32(c.layers)},
                                    {"llama.feed_forward_length", u32(c.ffn)},
                                    {"llama.attention.head_count", u32(c.heads)},
                                    {"llama.attention.head_count_kv", u32(c.kv_heads)},
                                    {"llama.attention.key_length", u32(c.head_dim)},
                                    {"llama.attention.value_length", u32(c.head_dim)},
                                    {"llama.attention.layer_norm_rms_epsilon", c.norm_eps},
                                    {"llama.rope.dimension_count", u32(c.rotary_dim())},
                                    {"llama.rope.freq_base", static_cast<float>(c.rope.theta)},
                                    {"llama.vocab_size", u32(c.vocab)}};
    if (c.rope.type == "linear" || c.rope.type == "yarn") {
        m.push_back({"llama.rope.scaling.type", c.rope.type});
        m.push_back({"llama.rope.scaling.factor", static_cast<float>(c.rope.factor)});
        if (c.rope.original_max_positions > 0)
            m.push_back({"llama.rope.scaling.original_context_length", u32(c.rope.original_max_positions)});
    }
    return m;
}

const Family kLlama = {
    .name = "llama",
    .model_types = {"llama"},
    .gguf_architectures = {"llama"},
    .prefixes = {"model."},
    .read_config = read_config,
    .read_metadata = read_metadata,
    .weights = weights,
    .write_config = write_config,
    .write_metadata = write_metadata,
    .ignored_suffixes = {".rotary_emb.inv_freq"},
};
const RegisterFamily kRegister(kLlama);

}  // namespace
}  // namespace narae
