// narae quantize: makes a model light.
#include "quant/quantize.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/table.h"

#include <optional>

namespace narae::cli {
namespace {

struct Preset {
    std::string_view name, method, format, layout;
    std::int64_t group;
    bool symmetric;
    std::string_view meaning;
};
// Named triples. The last column is what --list says.
constexpr Preset kPresets[] = {
    {"nf4", "rtn", "nf4", "bnb", 128, true, "bitsandbytes, 4-bit NormalFloat (QLoRA)"},
    {"fp4", "rtn", "fp4", "bnb", 128, true, "bitsandbytes, 4-bit float"},
    {"int8", "rtn", "llm_int8", "bnb", 0, true, "bitsandbytes, LLM.int8()"},
    {"gptq", "gptq", "int4", "gptq", 128, true, "GPTQ, 4 bits, groups of 128"},
    {"awq", "awq", "int4", "awq", 128, false, "AWQ, 4 bits, groups of 128"},
    {"W4A16", "gptq", "int4", "compressed-tensors", 128, true, "llm-compressor's W4A16"},
    {"W8A16", "rtn", "int8", "compressed-tensors", 128, true, "llm-compressor's W8A16"},
};

struct Options {
    ModelOptions model;
    std::string out, preset;
    std::optional<std::string> method, format, layout, variant;
    std::optional<std::int64_t> group;
    bool symmetric = false, asymmetric = false, act_order = false, static_groups = false, at_once = false, double_quant = false;
    double damping = 0.01;
    std::string dtype = "f16";
    std::vector<std::string> calibration, ignored;
    int samples = 128, tokens = 512, threads = 0;
    bool json = false, list = false;
};

Recipe recipe_of(const Options& o) {
    Recipe recipe;
    if (!o.preset.empty()) {
        const auto* preset = std::ranges::find(kPresets, o.preset, &Preset::name);
        if (preset == std::end(kPresets)) {
            std::vector<std::string_view> names;
            for (const Preset& p : kPresets) names.push_back(p.name);
            throw_error<UsageError>("--preset {}: unknown; need one of {}", o.preset, fmt::join(names, ", "));
        }
        recipe.method = preset->method;
        recipe.format = preset->format;
        recipe.layout = preset->layout;
        recipe.group = preset->group;
        recipe.symmetric = preset->symmetric;
    }
    if (o.method) recipe.method = *o.method;
    if (o.format) recipe.format = *o.format;
    if (o.layout) recipe.layout = *o.layout;
    if (o.variant) recipe.variant = *o.variant;
    if (o.group) recipe.group = std::max<std::int64_t>(*o.group, 0);
    if (o.symmetric) recipe.symmetric = true;
    if (o.asymmetric) recipe.symmetric = false;
    recipe.act_order = o.act_order;
    recipe.static_groups = o.static_groups;
    recipe.true_sequential = !o.at_once;
    recipe.double_quantization = o.double_quant;
    recipe.damping = o.damping;
    recipe.model = o.dtype == "bf16" ? DType::bf16 : DType::f16;
    recipe.ignored = o.ignored;
    recipe.samples = o.samples;
    recipe.tokens = o.tokens;
    return recipe;
}

void list_presets() {
    Table table({{"preset"}, {"method"}, {"format"}, {"layout"}, {"what it is"}});
    for (const Preset& p : kPresets) {
        Recipe recipe;
        recipe.method = p.method;
        recipe.format = p.format;
        recipe.layout = p.layout;
        recipe.group = p.group;
        recipe.symmetric = p.symmetric;
        const std::string reason = why_not(recipe);
        table.add({std::string(p.name), std::string(p.method), std::string(p.format), std::string(p.layout),
                   reason.empty() ? std::string(p.meaning) : reason});
    }
    print_output("{}", table.text());
}

Json json_of(const QuantizedLinear& l) {
    return {{"module", l.module},
            {"shape", {l.out, l.in}},
            {"format", l.format},
            {"bits_per_weight", l.bits},
            {"error_nearest", l.error_nearest},
            {"error", l.error},
            {"note", l.note}};
}

void run(const Options& o) {
    if (o.list) return list_presets();
    if (o.model.model.empty() || o.out.empty())
        throw_error<UsageError>("need a model and the folder to write: narae quantize MODEL OUT");
    const Recipe recipe = recipe_of(o);
    if (const std::string reason = why_not(recipe); !reason.empty()) throw_error<UsageError>("{}", reason);
    const Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    require_weights(checkpoint);
    std::vector<std::string> documents;
    if (needs_calibration(recipe)) {
        if (o.calibration.empty())
            throw_error<UsageError>("--method {} needs calibration text: --calibration FILE (.txt or .jsonl)", recipe.method);
        std::vector<Path> files(o.calibration.begin(), o.calibration.end());
        documents = calibration_documents(files);
    }

    SignalWatch signals;
    std::optional<ProgressBar> bar;
    int shown = 0;
    const auto progress = [&](const QuantizeProgress& p) {
        if (!bar) bar.emplace("quantizing", static_cast<std::uint64_t>(p.blocks), "blocks");
        if (p.block > shown) bar->advance(static_cast<std::uint64_t>(p.block - shown));
        shown = std::max(shown, p.block);
        if (const int signal = signals.caught()) throw Interrupted(signal);
    };
    const QuantizeResult result = quantize(checkpoint, recipe, documents, o.out,
                                           {.device = "cpu", .threads = o.threads, .instruction_set = {}}, progress);
    bar.reset();
    const Checkpoint written = open_checkpoint(o.out);
    double bits = 0.0, weights = 0.0;
    for (const QuantizedLinear& l : result.linears) {
        const double count = static_cast<double>(l.out) * static_cast<double>(l.in);
        bits += l.bits * count;
        weights += count;
    }
    if (o.json) {
        Json linears = Json::array();
        for (const QuantizedLinear& l : result.linears) linears.push_back(json_of(l));
        print_output("{}\n", dump_json({{"out", o.out},
                                        {"method", recipe.method},
                                        {"format", recipe.format},
                                        {"layout", recipe.layout},
                                        {"bits_per_weight", weights > 0.0 ? bits / weights : 0.0},
                                        {"file_bytes", written.file_bytes},
                                        {"source_bytes", checkpoint.file_bytes},
                                        {"resumed_blocks", result.resumed_blocks},
                                        {"linears", linears}},
                                       2));
        return;
    }
    Table table({{"module"},
                 {"shape"},
                 {"format"},
                 {"bits/weight", Align::right},
                 {"error, nearest", Align::right},
                 {"error", Align::right},
                 {"note"}});
    for (const QuantizedLinear& l : result.linears)
        table.add({l.module, fmt::format("{} x {}", l.out, l.in), l.format, fmt::format("{:.2f}", l.bits),
                   fmt::format("{:.3e}", l.error_nearest), fmt::format("{:.3e}", l.error), l.note});
    print_output("{}", table.text());
    log_info("{}: {} linears at {:.2f} bits a weight, {} (source {})", o.out, result.linears.size(),
             weights > 0.0 ? bits / weights : 0.0, format_bytes(written.file_bytes), format_bytes(checkpoint.file_bytes));
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("quantize", "Make a model light");
    add_model_options(verb, o->model, false);
    verb.get_option("model")->required(false);  // not with --list
    verb.add_option("out", o->out, "The folder to write; it must not exist");
    verb.add_option("--preset", o->preset, "A named recipe: nf4, fp4, int8, gptq, awq, W4A16, W8A16; --list shows them");
    verb.add_option("--method", o->method, "Who chooses the codes: rtn (round to nearest), gptq, awq");
    verb.add_option("--format", o->format, "What codes mean: int2 ... int8, nf4, fp4, llm_int8, fp8_e4m3, mxfp4, nvfp4");
    verb.add_option("--layout", o->layout, "How they are stored: bnb, awq, gptq, compressed-tensors, fp8");
    verb.add_option("--layout-variant", o->variant, "Such as gemm, gemv or v2");
    verb.add_option("-g,--group-size", o->group, "Columns that share a scale; -1 or 0: a whole row")
        ->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 20));
    auto* symmetric = verb.add_flag("--sym", o->symmetric, "Integer codes without zero points");
    verb.add_flag("--asym", o->asymmetric, "Integer codes with zero points")->excludes(symmetric);
    verb.add_flag("--double-quant", o->double_quant, "nf4, fp4: quantize the scales too");
    verb.add_flag("--act-order,--desc-act", o->act_order, "gptq: columns in falling order of their inputs' power");
    verb.add_flag("--static-groups", o->static_groups, "gptq: scales of the weight as it was");
    verb.add_flag("--no-true-sequential", o->at_once, "gptq: a block's linears all see the block as it was");
    verb.add_option("--damp,--damp-percent", o->damping, "gptq: of the Hessian's mean diagonal, added to it")
        ->check(CLI::Range(0.0, 1.0));
    verb.add_option("--calibration", o->calibration, "Text to calibrate with: .txt (documents apart by blank lines) or .jsonl")
        ->allow_extra_args(false);
    verb.add_option("--samples", o->samples, "Samples of calibration text")->check(CLI::Range(1, 1 << 20));
    verb.add_option("--seq-len", o->tokens, "Tokens of a sample")->check(CLI::Range(1, 1 << 20));
    verb.add_option("--ignore,--skip", o->ignored,
                    "Modules that stay as they are: part of a name, or re:PATTERN; may be repeated")
        ->allow_extra_args(false);
    verb.add_option("--dtype", o->dtype, "Of what is not quantized: f16, bf16")->check(CLI::IsMember({"f16", "bf16"}));
    verb.add_option("-t,--threads", o->threads, "CPU threads; 0: all that this process may use")->check(CLI::Range(0, 1024));
    verb.add_flag("--list", o->list, "Show the presets");
    verb.add_flag("--json", o->json, "One JSON document");
    verb.footer(
        "A run that was interrupted goes on where it was when the same command is given again.\nExample:\n"
        "  narae quantize default smollm2-nf4 --preset nf4\n"
        "  narae quantize default smollm2-gptq --preset gptq -g 64 --calibration text.txt");
    verb.callback([o] { run(*o); });
}

const Verb kQuantize = {"quantize", add};
const RegisterVerb kRegister(kQuantize);

}  // namespace
}  // namespace narae::cli
