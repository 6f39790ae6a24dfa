// narae convert: between file layouts and number formats.
#include "model/convert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/model_options.h"
#include "cli/output.h"

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    std::string out, to;
    std::optional<std::string> dtype;
    std::string name;
    int threads = 0;
    bool json = false;
};

// --to, else what OUT's name says.
std::string target_layout(const Options& o) {
    if (!o.to.empty()) return o.to;
    return Path(o.out).extension() == ".gguf" ? "gguf" : "safetensors";
}

void run(const Options& o) {
    const std::string target = target_layout(o);
    const Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    require_weights(checkpoint);

    ConvertOptions options;
    options.naming = target == "gguf" ? Naming::gguf : Naming::hugging_face;
    options.format = o.dtype;
    options.threads = o.threads;
    options.name = o.name;
    SignalWatch signals;
    std::optional<ProgressBar> bar;
    options.progress = [&](std::uint64_t bytes) {
        if (bar) bar->advance(bytes);
        if (const int signal = signals.caught()) throw Interrupted(signal);
    };
    const CheckpointToSave contents = convert(checkpoint, options);
    std::uint64_t bytes = 0;
    for (const WeightToSave& weight : contents.weights) bytes += weight.bytes();
    bar.emplace("writing", bytes, "B");
    const Layout* layout = find_layout(target);
    NARAE_CHECK(layout && layout->save, "no layout {} to save", target);
    layout->save(contents, o.out);
    bar.reset();

    const Checkpoint written = open_checkpoint(o.out);
    if (o.json)
        print_output(
            "{}\n",
            dump_json(
                {{"out", o.out}, {"layout", target}, {"tensors", written.weights.size()}, {"file_bytes", written.file_bytes}},
                2));
    else
        log_info("{}: {} tensors, {}", o.out, written.weights.size(), format_bytes(written.file_bytes));
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("convert", "Between file layouts and number formats");
    add_model_options(verb, o->model, false);
    verb.add_option("out", o->out, "The file (.gguf) or the folder to write; it must not exist as a folder")->required();
    verb.add_option("--to", o->to, "safetensors: a Hugging Face folder; gguf: one file; default: by OUT's name")
        ->check(CLI::IsMember({"safetensors", "gguf"}));
    verb.add_option("--dtype,--outtype", o->dtype,
                    "Format of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, ...; default: as stored");
    verb.add_option("--name", o->name, "The model's name in the result");
    verb.add_option("-t,--threads", o->threads, "CPU threads; 0: all that this process may use")->check(CLI::Range(0, 1024));
    verb.add_flag("--json", o->json, "One JSON document");
    verb.footer(
        "Tokenizer and chat template go along. f32 is exact for every format. Nothing is left of a conversion that "
        "fails.\nExample:\n"
        "  narae convert default smollm2 --dtype bf16\n  narae convert smollm2 smollm2-q8_0.gguf --dtype q8_0");
    verb.callback([o] { run(*o); });
}

const Verb kConvert = {"convert", add};
const RegisterVerb kRegister(kConvert);

}  // namespace
}  // namespace narae::cli
