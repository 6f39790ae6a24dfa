// narae generate: one answer, streamed to standard output.
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "checkpoint/text_files.h"
#include "cli/answer.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    SamplingOptions sampling;
    std::optional<std::string> prompt, file, ids, system;
    std::vector<std::string> stop;
    int max_tokens = 0;
    bool chat = false, ignore_eos = false, no_special = false, special_text = false, json = false;
};

std::vector<std::int32_t> prompt_ids(const Options& o, const ModelText& text) {
    if (o.ids) return parse_ids(*o.ids);
    const std::string prompt = read_prompt(o.prompt, o.file);
    const Tokenizer& tokenizer = text.require_tokenizer();
    if (!o.chat) return tokenizer.encode(prompt, {.add_special = !o.no_special});
    Json messages = Json::array();
    if (o.system) messages.push_back({{"role", "system"}, {"content", *o.system}});
    messages.push_back({{"role", "user"}, {"content", prompt}});
    return encode_chat(text, messages);
}

void run(const Options& o) {
    if ((o.prompt ? 1 : 0) + (o.file ? 1 : 0) + (o.ids ? 1 : 0) > 1) throw_error<UsageError>("give one of -p, -f and --ids");
    if (o.ids && (o.chat || !o.stop.empty())) throw_error<UsageError>("--ids goes without --chat and --stop; they need text");
    const double start = monotonic_seconds();
    Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    const ModelText text = load_model_text(checkpoint);
    const std::vector<std::int32_t> prompt = prompt_ids(o, text);

    LoadOptions load = load_options(o.model);
    const kernels::SamplingParameters sampling = sampling_parameters(o.sampling, text.generation_config);
    Model model = load_model(std::move(checkpoint), load);
    if (text.tokenizer && text.tokenizer->vocabulary_size() > model.config().vocab)
        log_warning("the tokenizer knows {} tokens, the model {}; ids beyond the model's are refused",
                    text.tokenizer->vocabulary_size(), model.config().vocab);

    Engine engine(model);
    Request request;
    request.prompt = prompt;
    request.sampling = sampling;
    request.max_tokens = o.max_tokens;
    request.end_ids = !text.end_ids.empty() ? text.end_ids : model.config().eos_ids;
    request.ignore_end = o.ignore_eos;

    SignalWatch signals;
    const bool stream = !o.json && text.tokenizer, terminal = output_is_terminal();
    const auto show = [&](std::string_view piece) {
        if (stream && !piece.empty()) {
            write_output(terminal ? terminal_text(piece) : std::string(piece));
            flush_output();
        }
        return signals.caught() == 0;
    };
    const Answer answer = generate_answer(engine, std::move(request), text.tokenizer.get(), {o.stop, !o.special_text}, show);

    const double total = monotonic_seconds() - start;
    if (o.json) {
        Json result = {{"text", answer.text},
                       {"ids", answer.ids},
                       {"finish_reason", finish_reason_name(answer.finish)},
                       {"timings",
                        {{"load_ms", model.load_seconds * 1e3},
                         {"load_parts_ms",
                          {{"device", model.load_times.device * 1e3},
                           {"plan", model.load_times.plan * 1e3},
                           {"weights", model.load_times.weights * 1e3},
                           {"memory", model.load_times.memory * 1e3}}},
                         {"first_token_ms", (answer.first_token_at - start) * 1e3},
                         {"prompt_n", prompt.size()},
                         {"prompt_ms", answer.prompt_seconds * 1e3},
                         {"prompt_per_second", answer.prompt_rate()},
                         {"predicted_n", answer.ids.size()},
                         {"predicted_ms", answer.decode_seconds * 1e3},
                         {"predicted_per_second", answer.decode_rate()},
                         {"total_ms", total * 1e3}}},
                       {"memory", memory_json(model, engine)},
                       {"seed", sampling.seed},
                       {"numerics", model.numerics()}};
        if (answer.stop_string) result["stop_string"] = *answer.stop_string;
        print_output("{}\n", dump_json(result, 2));
    } else {
        if (stream)
            write_output("\n");
        else
            print_output("{}\n", fmt::join(answer.ids, ","));
        flush_output();
        log_info(
            "first token {:.3f} s after start (load {:.3f} s, prompt {} tokens at {:.1f} tokens/s) | {} tokens at {:.1f} "
            "tokens/s | memory {} "
            "(weights {}, KV cache {})",
            answer.first_token_at - start, model.load_seconds, prompt.size(), answer.prompt_rate(), answer.ids.size(),
            answer.decode_rate(), format_bytes(peak_resident_bytes()), format_bytes(model.plan.weights),
            format_bytes(static_cast<std::uint64_t>(engine.stats().kv_bytes)));
    }
    if (answer.finish == FinishReason::numeric_error)
        throw_error<InternalError>("the model's logits are not finite numbers after {} tokens; the weights may be damaged",
                                   answer.ids.size());
    if (const int signal = signals.caught()) {
        flush_output();
        throw Interrupted(signal);
    }
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("generate", "Continue a text or answer a prompt");
    add_model_options(verb, o->model, true);
    verb.add_option("-p,--prompt", o->prompt, "The prompt; without -p, -f and --ids it is read from standard input");
    verb.add_option("-f,--file", o->file, "Read the prompt from a file");
    verb.add_option("--ids", o->ids, "The prompt as token ids: \"1,2,3\"; works without a tokenizer");
    verb.add_flag("--chat", o->chat, "Wrap the prompt in the model's chat template");
    verb.add_option("--system", o->system, "A system message, with --chat");
    verb.add_option("-n,--predict,--max-tokens", o->max_tokens, "Tokens to generate; 0: until the answer or the context ends")
        ->check(CLI::Range(0, 1 << 24));
    verb.add_option("--stop", o->stop, "Stop before this text; may be repeated")->allow_extra_args(false);
    verb.add_flag("--ignore-eos", o->ignore_eos, "Go on after the end token");
    verb.add_flag("--no-special", o->no_special, "Do not add the tokens that open a text (BOS)");
    verb.add_flag("--special", o->special_text, "Show special tokens in the output");
    add_sampling_options(verb, o->sampling);
    verb.add_flag("--json", o->json, "One JSON document with text, ids, timings and memory");
    verb.footer(
        "Example:\n  narae generate default --chat -p \"Why is the sky blue?\" -n 100\n  echo \"Once upon a time\" | narae "
        "generate default -n 50 --temp 0");
    verb.callback([o] { run(*o); });
}

const Verb kGenerate = {"generate", add};
const RegisterVerb kRegister(kGenerate);

}  // namespace
}  // namespace narae::cli
