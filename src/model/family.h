// An architecture: one file in families/ that fills ModelConfig from config.json or GGUF metadata and lists the weights. That
// one table drives loading, checking, memory planning, conversion and saving.
#pragma once

#include "checkpoint/checkpoint.h"
#include "model/config.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

// Where a weight goes in the decoder.
enum class Slot : std::uint8_t {
    token_embedding,
    position_embedding,
    final_norm,
    final_norm_bias,
    head,  // once
    attention_norm,
    attention_norm_bias,
    q,
    k,
    v,
    qkv,
    o,
    q_bias,
    k_bias,
    v_bias,
    qkv_bias,
    o_bias,
    q_norm,
    k_norm,
    post_attention_norm,
    mlp_norm,
    mlp_norm_bias,
    gate,
    up,
    down,
    gate_bias,
    up_bias,
    down_bias,
    post_mlp_norm,  // per layer
    rope_factors,   // once, GGUF only
};
std::string_view slot_name(Slot slot);

// Which weights the backend lays together, and how.
enum class FuseGroup : std::uint8_t { none, qkv, gate_up };

// How a weight splits over ranks: columns of y = W x (rows of W), rows (columns of W), or not at all.
enum class Split : std::uint8_t { none, columns, rows };

struct WeightSlot {
    Slot slot;
    int layer = -1;    // -1: once
    std::string hf;    // full tensor name in a Hugging Face folder; empty: not stored there
    std::string gguf;  // the same in GGUF
    Shape shape;       // [out, in] or [n], as narae holds it
    bool optional = false;
    FuseGroup fuse = FuseGroup::none;
    Split split = Split::none;
    bool hf_transposed = false;  // stored [in, out] in Hugging Face files (GPT-2's Conv1D)
    int gguf_rotary_heads = 0;   // > 0: GGUF interleaves the two halves of each of so many heads' rows (Llama's q and k)
};

struct Family {
    std::string_view name;
    std::vector<std::string_view> model_types;         // config.json model_type
    std::vector<std::string_view> gguf_architectures;  // general.architecture
    std::vector<std::string_view> prefixes;            // that Hugging Face names may lack: "model.", "transformer."
    ModelConfig (*read_config)(const Json& config, std::string_view what) = nullptr;
    ModelConfig (*read_metadata)(const Metadata& metadata) = nullptr;
    std::vector<WeightSlot> (*weights)(const ModelConfig& config) = nullptr;
    Json (*write_config)(const ModelConfig& config) = nullptr;
    std::vector<MetadataEntry> (*write_metadata)(const ModelConfig& config) = nullptr;
    // Tensors of a file that carry nothing (causal masks, stored frequencies); by the end of the name.
    std::vector<std::string_view> ignored_suffixes;
};

std::span<const Family* const> all_families();
struct RegisterFamily {
    explicit RegisterFamily(const Family& family);
};

// The family of an opened checkpoint. BadFileError: unknown architecture, listing the known ones.
const Family& find_family(const Checkpoint& checkpoint);
// The config, validated, with the vocabulary checked against the embedding.
ModelConfig read_model_config(const Family& family, const Checkpoint& checkpoint);

// One slot found in a checkpoint.
struct FoundWeight {
    WeightSlot slot;
    const StoredWeight* stored = nullptr;
};
// Every slot of the table that the file holds, shapes checked. BadFileError naming the tensor: missing (not optional), of
// another shape. Tensors that no slot names are warned about once.
std::vector<FoundWeight> find_weights(const Family& family, const ModelConfig& config, const Checkpoint& checkpoint);

// Helpers for family files.
kernels::Activation parse_activation(std::string_view name, std::string_view what);  // BadFileError listing the known ones
std::string_view activation_config_name(kernels::Activation activation);
RopeConfig read_rope(const Json& config, std::string_view what, double default_theta);
void write_rope(const RopeConfig& rope, std::int64_t max_positions, Json& config);
int read_positive(const Json& config, std::string_view key, std::string_view what, std::optional<int> fallback = {});
std::vector<std::int32_t> read_ids(const Json& config, std::string_view key,
                                   std::string_view what);  // an id, a list or nothing

}  // namespace narae
