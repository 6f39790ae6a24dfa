// GPT-2: LayerNorm, learned positions, one fused qkv, biases everywhere, plain MLP, tied head; weights stored [in, out]
// (Conv1D). Sources: Radford et al. 2019; transformers' configuration_gpt2.py and modeling_gpt2.py; GGUF's gpt2 keys.
#include "base/error.h"
#include "model/family.h"

namespace narae {
namespace {

ModelConfig common(int layers, int hidden, int heads) {
    ModelConfig c;
    c.architecture = "GPT2LMHeadModel";
    c.layers = layers;
    c.hidden = hidden;
    c.heads = c.kv_heads = heads;
    c.head_dim = hidden / heads;
    c.norm = kernels::NormKind::layer;
    c.positions = Positions::learned;
    c.gated = false;
    c.qkv_bias = c.o_bias = c.mlp_bias = true;
    c.tied_head = true;
    return c;
}

void check_heads(int hidden, int heads, std::string_view what) {
    if (hidden % heads != 0)
        throw_error<BadFileError>("{}: {} heads, need a divisor of the hidden size {}", what, heads, hidden);
}

ModelConfig read_config(const Json& json, std::string_view what) {
    const int hidden = read_positive(json, "n_embd", what, 768), heads = read_positive(json, "n_head", what, 12);
    check_heads(hidden, heads, what);
    ModelConfig c = common(read_positive(json, "n_layer", what, 12), hidden, heads);
    c.ffn = read_positive(json, "n_inner", what, 4 * hidden);
    c.vocab = read_positive(json, "vocab_size", what, 50257);
    c.max_positions = read_positive(json, "n_positions", what, 1024);
    c.norm_eps = static_cast<float>(get_double(json, "layer_norm_epsilon", what).value_or(1e-5));
    c.activation = parse_activation(get_string(json, "activation_function", what).value_or("gelu_new"), what);
    c.tied_head = get_bool(json, "tie_word_embeddings", what).value_or(true);
    if (!get_bool(json, "scale_attn_weights", what).value_or(true)) c.attention_scale = 1.0f;
    c.attention_scale_by_layer = get_bool(json, "scale_attn_by_inverse_layer_idx", what).value_or(false);
    if (get_bool(json, "add_cross_attention", what).value_or(false))
        throw_error<BadFileError>("{}: add_cross_attention is true, only decoders without cross attention are supported", what);
    c.bos_ids = read_ids(json, "bos_token_id", what);
    c.eos_ids = read_ids(json, "eos_token_id", what);
    return c;
}

ModelConfig read_metadata(const Metadata& m) {
    const auto need = [&](std::string_view key) {
        const auto value = m.get_int(key);
        if (!value) throw_error<BadFileError>("{}: {} is missing, need a positive integer", m.what, key);
        if (*value < 1 || *value > INT32_MAX)
            throw_error<BadFileError>("{}: {} is {}, need a positive integer", m.what, key, *value);
        return static_cast<int>(*value);
    };
    const int hidden = need("gpt2.embedding_length"), heads = need("gpt2.attention.head_count");
    check_heads(hidden, heads, m.what);
    ModelConfig c = common(need("gpt2.block_count"), hidden, heads);
    c.ffn = need("gpt2.feed_forward_length");
    c.max_positions = need("gpt2.context_length");
    c.norm_eps = static_cast<float>(m.get_double("gpt2.attention.layer_norm_epsilon").value_or(1e-5));
    c.activation = kernels::Activation::gelu_tanh;
    if (const auto id = m.get_int("tokenizer.ggml.bos_token_id")) c.bos_ids.push_back(static_cast<std::int32_t>(*id));
    if (const auto id = m.get_int("tokenizer.ggml.eos_token_id")) c.eos_ids.push_back(static_cast<std::int32_t>(*id));
    return c;
}

std::vector<WeightSlot> weights(const ModelConfig& c) {
    const std::int64_t hidden = c.hidden, ffn = c.ffn;
    std::vector<WeightSlot> w;
    w.push_back({.slot = Slot::token_embedding,
                 .hf = "transformer.wte.weight",
                 .gguf = "token_embd.weight",
                 .shape = {c.vocab, hidden}});
    w.push_back({.slot = Slot::position_embedding,
                 .hf = "transformer.wpe.weight",
                 .gguf = "position_embd.weight",
                 .shape = {c.max_positions, hidden}});
    for (int i = 0; i < c.layers; ++i) {
        const auto add = [&](Slot slot, std::string_view hf, std::string_view gguf, Shape shape, Split split = Split::none) {
            w.push_back({.slot = slot,
                         .layer = i,
                         .hf = fmt::format("transformer.h.{}.{}", i, hf),
                         .gguf = fmt::format("blk.{}.{}", i, gguf),
                         .shape = shape,
                         .split = split,
                         .hf_transposed = shape.rank() == 2});
        };
        add(Slot::attention_norm, "ln_1.weight", "attn_norm.weight", {hidden});
        add(Slot::attention_norm_bias, "ln_1.bias", "attn_norm.bias", {hidden});
        add(Slot::qkv, "attn.c_attn.weight", "attn_qkv.weight", {3 * hidden, hidden}, Split::columns);
        add(Slot::qkv_bias, "attn.c_attn.bias", "attn_qkv.bias", {3 * hidden}, Split::columns);
        add(Slot::o, "attn.c_proj.weight", "attn_output.weight", {hidden, hidden}, Split::rows);
        add(Slot::o_bias, "attn.c_proj.bias", "attn_output.bias", {hidden});
        add(Slot::mlp_norm, "ln_2.weight", "ffn_norm.weight", {hidden});
        add(Slot::mlp_norm_bias, "ln_2.bias", "ffn_norm.bias", {hidden});
        add(Slot::up, "mlp.c_fc.weight", "ffn_up.weight", {ffn, hidden}, Split::columns);
        add(Slot::up_bias, "mlp.c_fc.bias", "ffn_up.bias", {ffn}, Split::columns);
        add(Slot::down, "mlp.c_proj.weight", "ffn_down.weight", {hidden, ffn}, Split::rows);
        add(Slot::down_bias, "mlp.c_proj.bias", "ffn_down.bias", {hidden});
    }
    w.push_back({.slot = Slot::final_norm, .hf = "transformer.ln_f.weight", .gguf = "output_norm.weight", .shape = {hidden}});
    w.push_back({.slot = Slot::final_norm_bias, .hf = "transformer.ln_f.bias", .gguf = "output_norm.bias", .shape = {hidden}});
    w.push_back({.slot = Slot::head,
                 .hf = "lm_head.weight",
                 .gguf = "output.weight",
                 .shape = {c.vocab, hidden},
                 .optional = true,
                 .split = Split::columns});
    return w;
}

Json write_config(const ModelConfig& c) {
    return {{"architectures", {c.architecture}},
            {"model_type", "gpt2"},
            {"n_embd", c.hidden},
            {"n_inner", c.ffn},
            {"n_layer", c.layers},
            {"n_head", c.heads},
            {"n_positions", c.max_positions},
            {"activation_function",
             c.activation == kernels::Activation::gelu_tanh ? "gelu_new" : activation_config_name(c.activation)},
            {"layer_norm_epsilon", static_cast<double>(c.norm_eps)},
            {"vocab_size", c.vocab},
            {"tie_word_embeddings", c.tied_head}};
}

std::vector<MetadataEntry> write_metadata(const ModelConfig& c) {
    if (c.activation != kernels::Activation::gelu_tanh || c.attention_scale != 0.0f || c.attention_scale_by_layer)
        throw_error<BadFileError>(
            "a gpt2 model with activation {} or its own attention scales cannot be said in GGUF; keep the Hugging Face layout",
            activation_config_name(c.activation));
    const auto u32 = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
    return {{"general.architecture", std::string("gpt2")},
            {"gpt2.context_length", u32(c.max_positions)},
            {"gpt2.embedding_length", u32(c.hidden)},
            {"gpt2.feed_forward_length", u32(c.ffn)},
            {"gpt2.block_count", u32(c.layers)},
            {"gpt2.attention.head_count", u32(c.heads)},
            {"gpt2.attention.layer_norm_epsilon", c.norm_eps}};
}

const Family kGpt2 = {
    .name = "gpt2",
    .model_types = {"gpt2"},
    .gguf_architectures = {"gpt2"},
    .prefixes = {"transformer."},
    .read_config = read_config,
    .read_metadata = read_metadata,
    .weights = weights,
    .write_config = write_config,
    .write_metadata = write_metadata,
    .ignored_suffixes = {".attn.bias", ".attn.masked_bias"},
};
const RegisterFamily kRegister(kGpt2);

}  // namespace
}  // namespace narae
