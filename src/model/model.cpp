#include "model/model.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace narae {
namespace {

using kernels::Fuse;
using WeightMap = std::map<std::pair<int, Slot>, FoundWeight>;

kernels::KvType kv_type_of(const LoadOptions& options) {
    return options.kv_type.value_or(options.activations == kernels::Activations::f32 ? kernels::KvType::f32
                                                                                     : kernels::KvType::f16);
}

kernels::Limits limits_of(const ModelConfig& config, const kernels::Backend& backend, const LoadOptions& options) {
    if (options.context < 0 || options.max_rows < 0 || options.max_sequences < 1 || options.max_logit_rows < 0)
        throw_error<UsageError>("context {}, rows {}, sequences {}: need positive numbers", options.context, options.max_rows,
                                options.max_sequences);
    if (config.positions == Positions::learned && options.context > config.max_positions)
        throw_error<UsageError>("context {}: the model has {} learned positions; choose a context of at most {}",
                                options.context, config.max_positions, config.max_positions);
    kernels::Limits limits;
    limits.max_context = options.context > 0 ? options.context : std::min(config.max_positions, 4096);
    limits.max_sequences = options.max_sequences;
    const std::int64_t longest = std::int64_t{limits.max_context} * limits.max_sequences;
    const int rows =
        options.max_rows > 0 ? options.max_rows : static_cast<int>(std::min<std::int64_t>(backend.step_rows(), longest));
    limits.max_rows = std::max(rows, options.max_sequences);
    limits.max_logit_rows = options.max_logit_rows > 0 ? options.max_logit_rows : options.max_sequences;
    limits.kv_bytes = options.kv_bytes;
    return limits;
}

kernels::ModelShape shape_of(const ModelConfig& c, kernels::KvType kv_type) {
    kernels::ModelShape shape;
    shape.layers = c.layers;
    shape.hidden = c.hidden;
    shape.heads = c.heads;
    shape.kv_heads = c.kv_heads;
    shape.head_dim = c.head_dim;
    shape.ffn = c.ffn;
    shape.vocab = c.vocab;
    shape.gated = c.gated;
    shape.rotary_dim = c.rotary_dim();
    shape.groups = place_kv(c, kv_type).groups;
    return shape;
}

WeightMap by_slot(std::vector<FoundWeight> found) {
    WeightMap map;
    for (FoundWeight& weight : found) {
        const auto key = std::pair(weight.slot.layer, weight.slot.slot);
        map.emplace(key, std::move(weight));
    }
    return map;
}

// A weight as [out, in]; Conv1D's [in, out] is transposed into `storage`.
PackedWeight as_linear(const FoundWeight& found, Naming naming, Buffer& storage) {
    PackedWeight weight = found.stored->packed;
    if (naming != Naming::hugging_face || !found.slot.hf_transposed) return weight;
    if (!weight.format->dtype)
        throw_error<BadFileError>("{}: format {} cannot be transposed, need a dense tensor", weight.name, weight.format->name);
    const std::int64_t in = weight.out, out = weight.in, size = weight.format->block_bytes;
    storage = Buffer(static_cast<std::size_t>(in * out * size));
    const std::byte* from = weight.codes().data();
    const auto transpose = [&]<class T>(T) {
        for (std::int64_t o = 0; o < out; ++o)
            for (std::int64_t i = 0; i < in; ++i)
                std::memcpy(storage.data() + (o * in + i) * static_cast<std::int64_t>(sizeof(T)),
                            from + (i * out + o) * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    };
    if (size == 2)
        transpose(std::uint16_t{});
    else if (size == 4)
        transpose(std::uint32_t{});
    else
        throw_error<BadFileError>("{}: elements of {} bytes, need 2 or 4", weight.name, size);
    weight.out = out;
    weight.in = in;
    weight.buffers = {std::span<const std::byte>(storage.data(), storage.size())};
    weight.file = nullptr;
    return weight;
}

class Loader {
public:
    Loader(Model& model, WeightMap map, bool tied) : model_(model), map_(std::move(map)), tied_(tied) {}

    void run(ProgressBar& bar) {
        bar_ = &bar;
        Decoder& d = model_.decoder;
        const ModelConfig& c = d.config;
        const FoundWeight& embedding = map_.at({-1, Slot::token_embedding});
        if (tied_) {
            d.embedding = product({{-1, Slot::token_embedding}}, Fuse::none);
            d.head.weight = d.embedding;
        } else {
            d.embedding = own(model_.backend->prepare_table(embedding.stored->packed));
            d.head.weight = product({{-1, Slot::head}}, Fuse::none);
        }
        if (const auto positions = map_.find({-1, Slot::position_embedding}); positions != map_.end())
            d.position_embedding = own(model_.backend->prepare_table(positions->second.stored->packed));

        const KvPlacement placement = place_kv(c, model_.kv_type);
        if (c.positions == Positions::rope) d.rope = {c.rotary_dim(), c.rope.interleaved};
        for (int i = 0; i < c.layers; ++i) {
            DecoderLayer l;
            l.attention_norm = norm(i, Slot::attention_norm, Slot::attention_norm_bias);
            l.mlp_norm = norm(i, Slot::mlp_norm, Slot::mlp_norm_bias);
            l.q_norm = optional_norm(i, Slot::q_norm);
            l.k_norm = optional_norm(i, Slot::k_norm);
            l.post_attention_norm = optional_norm(i, Slot::post_attention_norm);
            l.post_mlp_norm = optional_norm(i, Slot::post_mlp_norm);
            if (map_.count({i, Slot::qkv})) {
                l.qkv.weight = product({{i, Slot::qkv}}, Fuse::none);
                l.qkv.bias = bias(i, {Slot::qkv_bias});
            } else {
                kernels::HeadRows heads;  // rotary_dim 0: nothing is to be rotated where the product ends
                if (!l.q_norm && !l.k_norm) heads = {std::int64_t{c.heads + c.kv_heads} * c.head_dim, c.head_dim, d.rope};
                l.qkv.weight = product({{i, Slot::q}, {i, Slot::k}, {i, Slot::v}}, Fuse::rows, heads);
                l.qkv.bias = bias(i, {Slot::q_bias, Slot::k_bias, Slot::v_bias});
            }
            l.o.weight = product({{i, Slot::o}}, Fuse::none);
            l.o.bias = bias(i, {Slot::o_bias});
            if (c.gated) {
                l.gate_up.weight = product({{i, Slot::gate}, {i, Slot::up}}, Fuse::interleaved);
                l.gate_up.bias = bias(i, {Slot::gate_bias, Slot::up_bias});
            } else {
                l.gate_up.weight = product({{i, Slot::up}}, Fuse::none);
                l.gate_up.bias = bias(i, {Slot::up_bias});
            }
            l.down.weight = product({{i, Slot::down}}, Fuse::none);
            l.down.bias = bias(i, {Slot::down_bias});
            l.attention.heads = c.heads;
            l.attention.scale = c.scale_of_layer(i);
            l.attention.soft_cap = c.attention_soft_cap;
            std::tie(l.kv_group, l.kv_layer) = placement.layers[static_cast<std::size_t>(i)];
            d.layers.push_back(std::move(l));
        }
        d.final_norm = norm(-1, Slot::final_norm, Slot::final_norm_bias);
        if (c.positions == Positions::rope) {
            d.frequencies = rotary_frequencies(c.rope, c.rotary_dim(), c.max_positions, model_.limits.max_context);
        }
    }

private:
    const kernels::DeviceWeight* own(std::unique_ptr<kernels::DeviceWeight> weight) {
        model_.decoder.owned.push_back(std::move(weight));
        return model_.decoder.owned.back().get();
    }

    const kernels::DeviceWeight* product(std::initializer_list<std::pair<int, Slot>> slots, Fuse fuse,
                                         const kernels::HeadRows& heads = {}) {
        std::vector<PackedWeight> parts;
        std::vector<Buffer> transposed(slots.size());
        std::uint64_t bytes = 0;
        for (const auto& slot : slots) {
            const FoundWeight& found = map_.at(slot);
            parts.push_back(as_linear(found, model_.checkpoint.naming, transposed[parts.size()]));
            if (const PackedWeight& packed = found.stored->packed; packed.file) packed.file->prefetch(packed.codes());
            bytes += parts.back().bytes();
        }
        const kernels::DeviceWeight* weight =
            own(heads.rope.rotary_dim > 0 ? model_.backend->prepare_qkv(parts, heads, model_.activations)
                                          : model_.backend->prepare(parts, fuse, model_.activations));
        for (const auto& slot : slots) {
            const PackedWeight& packed = map_.at(slot).stored->packed;
            if (packed.file) packed.file->release_pages(packed.codes());
        }
        bar_->advance(bytes);
        return weight;
    }

    Tensor vector(int layer, Slot slot) {
        const auto found = map_.find({layer, slot});
        return found == map_.end() ? Tensor{} : model_.backend->upload(unpack_all(found->second.stored->packed));
    }

    Tensor bias(int layer, std::initializer_list<Slot> slots) {
        std::vector<float> values;
        for (Slot slot : slots) {
            const auto found = map_.find({layer, slot});
            if (found == map_.end()) continue;
            const std::vector<float> part = unpack_all(found->second.stored->packed);
            values.insert(values.end(), part.begin(), part.end());
        }
        if (values.empty()) return {};
        std::int64_t need = 0;
        for (Slot slot : slots) need += map_.count({layer, slot}) ? map_.at({layer, slot}).slot.shape.elements() : 0;
        NARAE_CHECK(static_cast<std::int64_t>(values.size()) == need, "{} of {}", values.size(), need);
        return model_.backend->upload(values);
    }

    kernels::Norm norm(int layer, Slot weight, Slot bias_slot) {
        return {model_.decoder.config.norm, model_.decoder.config.norm_eps, vector(layer, weight), vector(layer, bias_slot)};
    }

    std::optional<kernels::Norm> optional_norm(int layer, Slot slot) {
        if (!map_.count({layer, slot})) return std::nullopt;
        return kernels::Norm{model_.decoder.config.norm, model_.decoder.config.norm_eps, vector(layer, slot), {}};
    }

    Model& model_;
    WeightMap map_;
    bool tied_;
    ProgressBar* bar_ = nullptr;
};

// Some biases of one product stored and others not: the configuration does not describe the file.
void check_biases(const WeightMap& map, const ModelConfig& config, const Path& path) {
    for (int layer = 0; layer < config.layers; ++layer) {
        for (const auto& group :
             {std::vector{Slot::q_bias, Slot::k_bias, Slot::v_bias}, std::vector{Slot::gate_bias, Slot::up_bias}}) {
            if (!config.gated && group.front() == Slot::gate_bias) continue;
            const auto stored = std::count_if(group.begin(), group.end(), [&](Slot slot) {
                return map.count({layer, slot}) > 0;
            });
            if (stored != 0 && stored != static_cast<std::ptrdiff_t>(group.size()))
                throw_error<BadFileError>("{}: layer {} has {} of {} biases of {}, need all or none", path.string(), layer,
                                          stored, group.size(), slot_name(group.front()));
        }
    }
}

std::uint64_t prepared_bytes(const WeightMap& map, const ModelConfig& config, const kernels::Backend& backend, Naming naming,
                             kernels::Activations activations, bool tied) {
    const auto part = [&](const FoundWeight& found) {
        PackedWeight weight = found.stored->packed;
        if (naming == Naming::hugging_face && found.slot.hf_transposed) std::swap(weight.out, weight.in);
        return weight;
    };
    std::uint64_t bytes = 0;
    const auto add = [&](std::initializer_list<std::pair<int, Slot>> slots, Fuse fuse) {
        std::vector<PackedWeight> parts;
        for (const auto& slot : slots)
            if (const auto found = map.find(slot); found != map.end()) parts.push_back(part(found->second));
        if (!parts.empty()) bytes += backend.prepared_bytes(parts, fuse, activations);
    };
    add({{-1, tied ? Slot::token_embedding : Slot::head}}, Fuse::none);
    const auto add_table = [&](Slot slot) {
        if (const auto found = map.find({-1, slot}); found != map.end())
            bytes += backend.prepared_table_bytes(found->second.stored->packed);
    };
    if (!tied) add_table(Slot::token_embedding);
    add_table(Slot::position_embedding);
    for (int i = 0; i < config.layers; ++i) {
        add({{i, Slot::qkv}}, Fuse::none);
        add({{i, Slot::q}, {i, Slot::k}, {i, Slot::v}}, Fuse::rows);
        add({{i, Slot::o}}, Fuse::none);
        if (config.gated)
            add({{i, Slot::gate}, {i, Slot::up}}, Fuse::interleaved);
        else
            add({{i, Slot::up}}, Fuse::none);
        add({{i, Slot::down}}, Fuse::none);
    }
    return bytes;
}

std::string_view kv_name(kernels::KvType type) {
    switch (type) {
        case kernels::KvType::f32:
            return "f32";
        case kernels::KvType::f16:
            return "f16";
        case kernels::KvType::bf16:
            return "bf16";
    }
    return "";
}

}  // namespace

bool head_is_embedding(const ModelConfig& config, std::span<const FoundWeight> weights, const Path& path) {
    const auto stored = [&](Slot slot) -> const PackedWeight* {
        const auto found =
            std::find_if(weights.begin(), weights.end(), [&](const FoundWeight& weight) { return weight.slot.slot == slot; });
        return found == weights.end() ? nullptr : &found->stored->packed;
    };
    const PackedWeight* const head = stored(Slot::head);
    const PackedWeight* const embedding = stored(Slot::token_embedding);
    if (!head) {
        if (!config.tied_head)
            log_warning(
                "{}: the configuration says that the output matrix is not tied, but none is stored; using the embedding",
                path.string());
        return true;
    }
    if (!config.tied_head) return false;
    const bool same = embedding && head->format == embedding->format && head->codes().size() == embedding->codes().size() &&
                      std::memcmp(head->codes().data(), embedding->codes().data(), head->codes().size()) == 0;
    if (!same)
        log_warning(
            "{}: the output matrix is said to be tied to the embedding, but another one is stored; using the stored one",
            path.string());
    return same;
}

ModelSummary summarize_model(const Checkpoint& checkpoint, const kernels::Backend& backend, const LoadOptions& options) {
    require_weights(checkpoint);
    ModelSummary summary;
    summary.family = &find_family(checkpoint);
    summary.config = read_model_config(*summary.family, checkpoint);
    summary.weights = find_weights(*summary.family, summary.config, checkpoint);
    const WeightMap map = by_slot(summary.weights);
    check_biases(map, summary.config, checkpoint.path);
    const bool tied = summary.tied_head = head_is_embedding(summary.config, summary.weights, checkpoint.path);
    for (const FoundWeight& weight : summary.weights) {
        const bool counted = weight.slot.slot != Slot::rope_factors && !(tied && weight.slot.slot == Slot::head);
        if (counted) summary.parameters += static_cast<std::uint64_t>(weight.slot.shape.elements());
    }
    summary.limits = limits_of(summary.config, backend, options);
    summary.shape = shape_of(summary.config, kv_type_of(options));
    summary.shape.activations = options.activations;
    summary.shape.weight_bytes = prepared_bytes(map, summary.config, backend, checkpoint.naming, options.activations, tied);
    summary.plan = backend.plan(summary.shape, summary.limits);
    return summary;
}

Model load_model(Checkpoint checkpoint, const LoadOptions& options) {
    const double start = monotonic_seconds();
    double last = start;
    const auto lap = [&] {
        const double before = std::exchange(last, monotonic_seconds());
        return last - before;
    };
    Model model;
    model.backend = kernels::open_backend(options.backend);
    model.load_times.device = lap();
    ModelSummary summary = summarize_model(checkpoint, *model.backend, options);
    model.checkpoint = std::move(checkpoint);
    model.family = summary.family;
    model.limits = summary.limits;
    model.shape = summary.shape;
    model.plan = summary.plan;
    model.kv_type = kv_type_of(options);
    model.activations = options.activations;
    model.decoder.config = summary.config;

    // The KV cache grows as it is used; what must fit from the start is the rest.
    const std::uint64_t need = model.plan.total() - model.plan.kv, available = model.backend->available_bytes();
    if (need > available)
        throw_error<ResourceError>(
            "{}: {} needed on {} (weights {}, working memory {}), {} available; close other programs, or use a smaller or more "
            "strongly quantized model",
            model.checkpoint.path.string(), format_bytes(need), model.backend->device(), format_bytes(model.plan.weights),
            format_bytes(need - model.plan.weights), format_bytes(available));

    model.load_times.plan = lap();
    ProgressBar bar(options.progress ? "loading" : "", options.progress ? model.plan.weights : 0, "B");
    Loader(model, by_slot(std::move(summary.weights)), summary.tied_head).run(bar);
    model.load_times.weights = lap();
    model.workspace = model.backend->allocate(model.shape, model.limits);
    model.load_times.memory = lap();
    model.load_seconds = monotonic_seconds() - start;
    return model;
}

Json Model::numerics() const {
    Json slots = Json::object();
    const auto add = [&](std::string_view name, const kernels::Linear& linear) {
        if (!linear.weight) return;
        Json& entry = slots[std::string(name)];
        if (!entry.is_array()) entry = Json::array();
        Json kernel = linear.weight->kernel;
        if (!linear.weight->fallback.empty()) kernel = linear.weight->kernel + " (" + linear.weight->fallback + ")";
        if (std::find(entry.begin(), entry.end(), kernel) == entry.end()) entry.push_back(kernel);
    };
    for (const DecoderLayer& layer : decoder.layers) {
        add("qkv", layer.qkv);
        add("o", layer.o);
        add(config().gated ? "gate_up" : "up", layer.gate_up);
        add("down", layer.down);
    }
    add("head", decoder.head);
    Json formats = Json::object();
    for (const StoredWeight& weight : checkpoint.weights) {
        Json& count = formats[std::string(weight.packed.format->name)];
        count = count.is_null() ? 1 : count.get<int>() + 1;
    }
    const char* activation_names[] = {"auto", "f32", "int8", "bf16", "f16"};
    return {{"device", std::string(backend->device())},
            {"backend", backend->description()},
            {"activations", activation_names[static_cast<int>(activations)]},
            {"kv", std::string(kv_name(kv_type))},
            {"tensors_by_format", formats},
            {"kernels", slots}};
}

}  // namespace narae
