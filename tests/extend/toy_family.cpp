// What it costs to add an architecture: this file. RMS norm, learned positions, plain ReLU MLP, no biases, untied head.
#include "base/error.h"
#include "model/family.h"

namespace narae {
namespace {

ModelConfig read_config(const Json& json, std::string_view what) {
    ModelConfig c;
    c.layers = read_positive(json, "depth", what);
    c.hidden = c.ffn = read_positive(json, "width", what);
    c.heads = c.kv_heads = read_positive(json, "heads", what);
    c.head_dim = c.hidden / c.heads;
    c.vocab = read_positive(json, "vocab", what);
    c.max_positions = read_positive(json, "positions", what);
    c.positions = Positions::learned;
    c.activation = kernels::Activation::relu;
    c.gated = false;
    return c;
}

std::vector<WeightSlot> weights(const ModelConfig& c) {
    const std::int64_t width = c.hidden;
    std::vector<WeightSlot> w;
    const auto add = [&](Slot slot, int layer, std::string name, Shape shape, FuseGroup fuse = FuseGroup::none) {
        w.push_back({.slot = slot, .layer = layer, .hf = std::move(name), .gguf = "", .shape = shape, .fuse = fuse});
    };
    add(Slot::token_embedding, -1, "tokens", {c.vocab, width});
    add(Slot::position_embedding, -1, "positions", {c.max_positions, width});
    for (int i = 0; i < c.layers; ++i) {
        add(Slot::attention_norm, i, fmt::format("{}.norm1", i), {width});
        add(Slot::q, i, fmt::format("{}.q", i), {width, width}, FuseGroup::qkv);
        add(Slot::k, i, fmt::format("{}.k", i), {width, width}, FuseGroup::qkv);
        add(Slot::v, i, fmt::format("{}.v", i), {width, width}, FuseGroup::qkv);
        add(Slot::o, i, fmt::format("{}.o", i), {width, width});
        add(Slot::mlp_norm, i, fmt::format("{}.norm2", i), {width});
        add(Slot::up, i, fmt::format("{}.up", i), {width, width});
        add(Slot::down, i, fmt::format("{}.down", i), {width, width});
    }
    add(Slot::final_norm, -1, "norm", {width});
    add(Slot::head, -1, "head", {c.vocab, width});
    return w;
}

const Family kFamily{.name = "toy",
                     .model_types = {"toy"},
                     .gguf_architectures = {},
                     .prefixes = {},
                     .read_config = read_config,
                     .weights = weights,
                     .ignored_suffixes = {}};
const RegisterFamily kRegister(kFamily);

}  // namespace
}  // namespace narae
