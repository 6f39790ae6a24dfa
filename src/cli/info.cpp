// narae info: what a model is and what it will need, from its headers alone.
#include "base/error.h"
#include "base/progress.h"
#include "checkpoint/text_files.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "text/tokenizer.h"

#include <map>

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    int sequences = 1;
    bool tensors = false, json = false;
};

struct FormatUse {
    std::uint64_t tensors = 0, parameters = 0, bytes = 0;
};

std::map<std::string, FormatUse> formats_of(const Checkpoint& checkpoint) {
    std::map<std::string, FormatUse> formats;
    for (const StoredWeight& weight : checkpoint.weights) {
        FormatUse& use = formats[std::string(weight.packed.format->name)];
        ++use.tensors;
        use.parameters += static_cast<std::uint64_t>(weight.shape.elements());
        use.bytes += weight.packed.bytes();
    }
    for (const OtherTensor& tensor : checkpoint.others) {
        FormatUse& use = formats[std::string(dtype_name(tensor.dtype))];
        ++use.tensors;
        use.bytes += tensor.bytes.size();
    }
    return formats;
}

std::int64_t kv_bytes_per_token(const kernels::ModelShape& shape) {
    std::int64_t bytes = 0;
    for (const kernels::KvGroup& group : shape.groups) bytes += group.block_bytes() / kernels::kBlockTokens;
    return bytes;
}

std::string_view activation_name(kernels::Activation activation) {
    switch (activation) {
        case kernels::Activation::silu:
            return "silu";
        case kernels::Activation::gelu_erf:
            return "gelu";
        case kernels::Activation::gelu_tanh:
            return "gelu (tanh)";
        case kernels::Activation::quick_gelu:
            return "quick gelu";
        case kernels::Activation::relu:
            return "relu";
    }
    return "";
}

Json config_json(const ModelConfig& c) {
    Json json = {{"layers", c.layers},
                 {"hidden", c.hidden},
                 {"heads", c.heads},
                 {"kv_heads", c.kv_heads},
                 {"head_dim", c.head_dim},
                 {"ffn", c.ffn},
                 {"vocab", c.vocab},
                 {"max_positions", c.max_positions},
                 {"norm", c.norm == kernels::NormKind::layer ? "layer" : "rms"},
                 {"norm_eps", static_cast<double>(c.norm_eps)},
                 {"activation", std::string(activation_name(c.activation))},
                 {"gated", c.gated}};
    if (c.positions == Positions::rope)
        json["rope"] = {
            {"type", c.rope.type}, {"theta", c.rope.theta}, {"factor", c.rope.factor}, {"rotary_dim", c.rotary_dim()}};
    else
        json["positions"] = "learned";
    json["bos_ids"] = c.bos_ids;
    json["eos_ids"] = c.eos_ids;
    return json;
}

Json tensors_json(const Checkpoint& checkpoint) {
    Json tensors = Json::array();
    for (const StoredWeight& weight : checkpoint.weights) {
        const auto dims = weight.shape.dims();
        tensors.push_back({{"name", weight.name()},
                           {"shape", std::vector<std::int64_t>(dims.begin(), dims.end())},
                           {"format", std::string(weight.packed.format->name)},
                           {"bytes", weight.packed.bytes()}});
    }
    for (const OtherTensor& tensor : checkpoint.others) {
        const auto dims = tensor.shape.dims();
        tensors.push_back({{"name", tensor.name},
                           {"shape", std::vector<std::int64_t>(dims.begin(), dims.end())},
                           {"format", std::string(dtype_name(tensor.dtype))},
                           {"bytes", tensor.bytes.size()}});
    }
    return tensors;
}

std::string tensors_text(const Checkpoint& checkpoint) {
    Table table({{"tensor"}, {"shape"}, {"format"}, {"bytes", Align::right}});
    for (const Json& tensor : tensors_json(checkpoint))
        table.add(
            {tensor["name"], dump_json(tensor["shape"]), tensor["format"], with_commas(tensor["bytes"].get<std::uint64_t>())});
    return table.text();
}

Json info_json(const Checkpoint& checkpoint, const ModelSummary& s, const ModelText& text, const Options& o,
               std::string_view device) {
    Json formats = Json::array();
    for (const auto& [name, use] : formats_of(checkpoint))
        formats.push_back({{"format", name}, {"tensors", use.tensors}, {"parameters", use.parameters}, {"bytes", use.bytes}});
    const std::int64_t per_token = kv_bytes_per_token(s.shape);
    Json json = {{"path", checkpoint.path.string()},
                 {"layout", checkpoint.layout},
                 {"family", std::string(s.family->name)},
                 {"architecture", s.config.architecture},
                 {"parameters", s.parameters},
                 {"file_bytes", checkpoint.file_bytes},
                 {"formats", formats},
                 {"config", config_json(s.config)},
                 {"tied_head", s.tied_head},
                 {"tokenizer", text.tokenizer ? Json{{"vocabulary", text.tokenizer->vocabulary_size()}} : Json()},
                 {"tokenizer_missing", text.tokenizer ? Json() : Json(text.missing)},
                 {"chat_template", !text.chat_template.empty()},
                 {"end_ids", text.end_ids},
                 {"memory",
                  {{"device", std::string(device)},
                   {"context", s.limits.max_context},
                   {"sequences", s.limits.max_sequences},
                   {"rows", s.limits.max_rows},
                   {"kv_type", std::string(kv_type_name(s.shape.groups.front().type))},
                   {"kv_bytes_per_token", per_token},
                   {"kv_bytes_per_sequence", per_token * s.limits.max_context},
                   {"weights_bytes", s.plan.weights},
                   {"kv_bytes", s.plan.kv},
                   {"activations_bytes", s.plan.activations},
                   {"logits_bytes", s.plan.logits},
                   {"scratch_bytes", s.plan.scratch},
                   {"batch_bytes", s.plan.batch},
                   {"total_bytes", s.plan.total()}}}};
    if (o.tensors) json["tensors"] = tensors_json(checkpoint);
    return json;
}

std::string info_text(const Checkpoint& checkpoint, const ModelSummary& s, const ModelText& text, std::string_view device) {
    const ModelConfig& c = s.config;
    std::string formats;
    for (const auto& [name, use] : formats_of(checkpoint))
        formats +=
            fmt::format("{}{} ({} tensors, {})", formats.empty() ? "" : ", ", name, use.tensors, format_bytes(use.bytes));
    Table about({{""}, {""}});
    about.add({"model", fmt::format("{} ({})", checkpoint.path.string(), checkpoint.layout)});
    about.add({"architecture", fmt::format("{} (family {})", c.architecture, s.family->name)});
    about.add({"parameters", fmt::format("{} ({})", with_commas(s.parameters), count_text(s.parameters))});
    about.add(
        {"on disk", fmt::format("{} ({} bytes)", format_bytes(checkpoint.file_bytes), with_commas(checkpoint.file_bytes))});
    about.add({"formats", formats});
    about.add({"layers", fmt::format("{}, hidden {}, ffn {} ({}{})", c.layers, c.hidden, c.ffn, activation_name(c.activation),
                                     c.gated ? ", gated" : "")});
    about.add({"attention", fmt::format("{} heads of {}, {} for keys and values", c.heads, c.head_dim, c.kv_heads)});
    const std::string kind = c.positions == Positions::rope ? fmt::format("rotary, theta {}{}", c.rope.theta,
                                                                          c.rope.type == "default" ? "" : ", " + c.rope.type)
                                                            : "learned";
    about.add({"positions", fmt::format("{}, up to {} tokens", kind, c.max_positions)});
    about.add({"vocabulary", fmt::format("{}{}", c.vocab, s.tied_head ? ", output matrix tied to the embedding" : "")});
    about.add(
        {"tokenizer", text.tokenizer ? fmt::format("{} tokens", text.tokenizer->vocabulary_size()) : "none: " + text.missing});
    about.add({"chat template", text.chat_template.empty() ? "none" : "yes"});

    const auto per_token = static_cast<std::uint64_t>(kv_bytes_per_token(s.shape));
    Table memory({{""}, {"", Align::right}, {""}});
    const auto row = [&](const std::string& name, std::uint64_t bytes, const std::string& note) {
        memory.add({"  " + name, format_bytes(bytes), note});
    };
    row("weights", s.plan.weights, "");
    row("KV cache", s.plan.kv,
        fmt::format("{}: {} per token, {} per sequence", kv_type_name(s.shape.groups.front().type), format_bytes(per_token),
                    format_bytes(per_token * static_cast<std::uint64_t>(s.limits.max_context))));
    row("activations", s.plan.activations, fmt::format("{} rows in a step", s.limits.max_rows));
    row("logits", s.plan.logits, "");
    row("other", s.plan.scratch + s.plan.batch, "");
    row("total", s.plan.total(), "");
    return fmt::format("{}\nmemory on {} for {} sequence{} of {} tokens\n{}", about.text(false), device, s.limits.max_sequences,
                       s.limits.max_sequences == 1 ? "" : "s", s.limits.max_context, memory.text(false));
}

void run(const Options& o) {
    const Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    const ModelText text = load_model_text(checkpoint);
    const auto backend = kernels::open_backend(backend_options(o.model));
    LoadOptions load = load_options(o.model);
    load.max_sequences = o.sequences;
    const ModelSummary summary = summarize_model(checkpoint, *backend, load);
    if (o.json) {
        print_output("{}\n", dump_json(info_json(checkpoint, summary, text, o, backend->device()), 2));
        return;
    }
    write_output(info_text(checkpoint, summary, text, backend->device()));
    if (o.tensors) print_output("\n{}", tensors_text(checkpoint));
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("info", "What a model is, and the memory it will need");
    add_model_options(verb, o->model, true);
    verb.add_option("--sequences,-j,--parallel", o->sequences, "Plan the memory for so many sequences at once")
        ->check(CLI::Range(1, 1 << 16));
    verb.add_flag("--tensors", o->tensors, "List every tensor with shape, format and bytes");
    verb.add_flag("--json", o->json, "One JSON document");
    verb.footer(
        "Weights are not read: it takes the same moment for any size.\nExample:\n  narae info default\n  narae info default "
        "--tensors\n  narae info default -c 8192 --sequences 16");
    verb.callback([o] { run(*o); });
}

const Verb kInfo = {"info", add};
const RegisterVerb kRegister(kInfo);

}  // namespace
}  // namespace narae::cli
