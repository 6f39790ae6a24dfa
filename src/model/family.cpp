#include "model/family.h"

#include "base/error.h"
#include "base/log.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

namespace narae {
namespace {

std::vector<const Family*>& registry() {
    static std::vector<const Family*> families;
    return families;
}

std::string known_families() {
    std::set<std::string> names;
    for (const Family* family : registry())
        for (std::string_view type : family->model_types) names.insert(std::string(type));
    return fmt::format("{}", fmt::join(names, ", "));
}

bool contains(std::span<const std::string_view> list, std::string_view item) {
    return std::find(list.begin(), list.end(), item) != list.end();
}

// The stored tensor of a Hugging Face name, with or without the family's prefix.
const StoredWeight* find_hf(const Family& family, const Checkpoint& checkpoint, const std::string& name) {
    if (name.empty()) return nullptr;
    if (const StoredWeight* stored = checkpoint.find(name)) return stored;
    for (std::string_view prefix : family.prefixes) {
        if (name.starts_with(prefix)) {
            if (const StoredWeight* stored = checkpoint.find(name.substr(prefix.size()))) return stored;
        }
    }
    return nullptr;
}

bool ignored(const Family& family, std::string_view name) {
    return std::any_of(family.ignored_suffixes.begin(), family.ignored_suffixes.end(),
                       [&](std::string_view suffix) { return name.ends_with(suffix); });
}

}  // namespace

std::string_view slot_name(Slot slot) {
    static constexpr std::array names = {"token_embedding",
                                         "position_embedding",
                                         "final_norm",
                                         "final_norm_bias",
                                         "head",
                                         "attention_norm",
                                         "attention_norm_bias",
                                         "q",
                                         "k",
                                         "v",
                                         "qkv",
                                         "o",
                                         "q_bias",
                                         "k_bias",
                                         "v_bias",
                                         "qkv_bias",
                                         "o_bias",
                                         "q_norm",
                                         "k_norm",
                                         "post_attention_norm",
                                         "mlp_norm",
                                         "mlp_norm_bias",
                                         "gate",
                                         "up",
                                         "down",
                                         "gate_bias",
                                         "up_bias",
                                         "down_bias",
                                         "post_mlp_norm",
                                         "rope_factors"};
    return names[static_cast<std::size_t>(slot)];
}

std::span<const Family* const> all_families() { return registry(); }

RegisterFamily::RegisterFamily(const Family& family) { registry().push_back(&family); }

const Family& find_family(const Checkpoint& checkpoint) {
    std::string type;
    if (checkpoint.naming == Naming::gguf) {
        const auto architecture = checkpoint.metadata.get_string("general.architecture");
        if (!architecture)
            throw_error<BadFileError>("{}: general.architecture is missing, need it to know the model",
                                      checkpoint.path.string());
        type = std::string(*architecture);
        for (const Family* family : registry())
            if (contains(family->gguf_architectures, type)) return *family;
    } else {
        if (!checkpoint.config.is_object())
            throw_error<BadFileError>("{}: config.json is missing, need it to know the model", checkpoint.path.string());
        type = get_string(checkpoint.config, "model_type", checkpoint.path.string()).value_or("");
        if (type.empty())
            throw_error<BadFileError>("{}: config.json has no model_type, need it to know the model", checkpoint.path.string());
        for (const Family* family : registry())
            if (contains(family->model_types, type)) return *family;
    }
    throw_error<BadFileError>("{}: architecture {} is not supported; supported: {}", checkpoint.path.string(), type,
                              known_families());
}

ModelConfig read_model_config(const Family& family, const Checkpoint& checkpoint) {
    const std::string what =
        checkpoint.naming == Naming::gguf ? checkpoint.path.string() : (checkpoint.path / "config.json").string();
    ModelConfig config = checkpoint.naming == Naming::gguf ? family.read_metadata(checkpoint.metadata)
                                                           : family.read_config(checkpoint.config, what);
    config.family = std::string(family.name);
    if (checkpoint.naming == Naming::gguf && config.vocab == 0) {
        // GGUF need not say the vocabulary's size: it is the embedding's number of rows.
        const StoredWeight* embedding = checkpoint.find("token_embd.weight");
        if (embedding && embedding->shape.rank() == 2)
            config.vocab = static_cast<int>(std::min<std::int64_t>(embedding->shape[0], INT32_MAX));
    }
    if (checkpoint.naming == Naming::gguf) {
        config.tied_head = checkpoint.find("output.weight") == nullptr;
        if (const StoredWeight* factors = checkpoint.find("rope_freqs.weight");
            factors && config.positions == Positions::rope) {
            validate(factors->packed);
            const std::vector<float> values = unpack_all(factors->packed);
            config.rope.type = "factors";
            config.rope.long_factor.assign(values.begin(), values.end());
        }
    }
    validate(config, what);
    return config;
}

std::vector<FoundWeight> find_weights(const Family& family, const ModelConfig& config, const Checkpoint& checkpoint) {
    const bool gguf = checkpoint.naming == Naming::gguf;
    std::vector<FoundWeight> found;
    std::unordered_set<const StoredWeight*> used;
    for (WeightSlot& slot : family.weights(config)) {
        const std::string& name = gguf ? slot.gguf : slot.hf;
        const StoredWeight* stored =
            gguf ? (name.empty() ? nullptr : checkpoint.find(name)) : find_hf(family, checkpoint, name);
        if (!stored) {
            if (slot.optional || name.empty()) continue;
            throw_error<BadFileError>("{}: tensor {} is missing, need it with shape {}", checkpoint.path.string(), name,
                                      slot.shape.to_string());
        }
        Shape need = slot.shape;
        if (!gguf && slot.hf_transposed && need.rank() == 2) need = Shape{need[1], need[0]};
        if (stored->shape != need)
            throw_error<BadFileError>("{}: tensor {} has shape {}, need {} as the configuration says", checkpoint.path.string(),
                                      stored->name(), stored->shape.to_string(), need.to_string());
        validate(stored->packed);
        used.insert(stored);
        found.push_back({std::move(slot), stored});
    }
    std::size_t unused = 0;
    std::string example;
    for (const StoredWeight& weight : checkpoint.weights) {
        if (used.count(&weight) || ignored(family, weight.name())) continue;
        if (unused++ == 0) example = weight.name();
    }
    if (unused > 0)
        log_warning("{}: {} tensors have no place in a {} model and are left out, the first is {}", checkpoint.path.string(),
                    unused, family.name, example);
    return found;
}

// ---- helpers for family files --------------------------------------------------------------------------------------

namespace {
struct ActivationName {
    std::string_view name;
    kernels::Activation activation;
};
// The first spelling of an activation is the one that is written.
constexpr std::array kActivations = {
    ActivationName{"silu", kernels::Activation::silu},
    ActivationName{"swish", kernels::Activation::silu},
    ActivationName{"gelu", kernels::Activation::gelu_erf},
    ActivationName{"gelu_new", kernels::Activation::gelu_tanh},
    ActivationName{"gelu_pytorch_tanh", kernels::Activation::gelu_tanh},
    ActivationName{"gelu_fast", kernels::Activation::gelu_tanh},
    ActivationName{"quick_gelu", kernels::Activation::quick_gelu},
    ActivationName{"relu", kernels::Activation::relu},
};
}  // namespace

kernels::Activation parse_activation(std::string_view name, std::string_view what) {
    for (const ActivationName& entry : kActivations)
        if (entry.name == name) return entry.activation;
    std::vector<std::string_view> names;
    for (const ActivationName& entry : kActivations) names.push_back(entry.name);
    throw_error<BadFileError>("{}: activation {} is not supported; supported: {}", what, name, fmt::join(names, ", "));
}

std::string_view activation_config_name(kernels::Activation activation) {
    for (const ActivationName& entry : kActivations)
        if (entry.activation == activation) return entry.name;
    NARAE_CHECK(false, "activation {}", static_cast<int>(activation));
    return {};
}

int read_positive(const Json& config, std::string_view key, std::string_view what, std::optional<int> fallback) {
    const auto value = get_int(config, key, what);
    if (!value) {
        if (fallback) return *fallback;
        throw_error<BadFileError>("{}: {} is missing, need a positive integer", what, key);
    }
    if (*value < 1 || *value > INT32_MAX) throw_error<BadFileError>("{}: {} is {}, need a positive integer", what, key, *value);
    return static_cast<int>(*value);
}

std::vector<std::int32_t> read_ids(const Json& config, std::string_view key, std::string_view what) {
    std::vector<std::int32_t> ids;
    const auto it = config.find(key);
    if (it == config.end() || it->is_null()) return ids;
    const auto add = [&](const Json& value) {
        if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::int64_t>() > INT32_MAX)
            throw_error<BadFileError>("{}: {} holds {}, need token ids", what, key, dump_json(value));
        ids.push_back(value.get<std::int32_t>());
    };
    if (it->is_array())
        for (const Json& value : *it) add(value);
    else if (!(it->is_number_integer() && it->get<std::int64_t>() == -1))
        add(*it);
    return ids;
}

}  // namespace narae
