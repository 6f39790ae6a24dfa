#include "cli/evaluation.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <algorithm>

namespace narae::cli {
void add_evaluation_options(CLI::App& verb, EvaluationOptions& o) {
    add_model_options(verb, o.model, true);
    verb.remove_option(verb.get_option("--ctx-size"));
    verb.add_option("--window", o.window, "Tokens of a window; 0: as the protocol says")->check(CLI::Range(0, 1 << 24));
    verb.add_option("--chunks", o.chunks, "Only the first windows; 0: all")->check(CLI::Range(0, 1 << 30));
    verb.add_option("--sequences", o.sequences, "Windows computed at once; 0: as many as fill a step")
        ->check(CLI::Range(0, 1 << 12));
    verb.add_option("--resume", o.resume,
                    "A file that keeps what is done; the same command with the same file goes on after an interruption");
    verb.add_option("--resume-every", o.resume_every, "Windows between two writes of that file")->check(CLI::Range(1, 1 << 20));
    verb.add_flag("--json", o.json, "One JSON document with the protocol, the hashes and the numerics");
}

EvaluationModel open_for_evaluation(const std::string& model) {
    EvaluationModel subject;
    subject.path = resolve_model(model);
    subject.name = display_name(subject.path, model);
    subject.checkpoint = open_checkpoint(subject.path);
    require_weights(subject.checkpoint);
    subject.text = load_model_text(subject.checkpoint);
    const ModelConfig config = read_model_config(find_family(subject.checkpoint), subject.checkpoint);
    subject.context = config.max_positions;
    subject.vocab = config.vocab;
    return subject;
}

Model load_for_windows(EvaluationModel& subject, const EvaluationOptions& o, int window) {
    LoadOptions load = load_options(o.model);
    const int step_rows = o.model.batch_rows > 0 ? 0 : kernels::open_backend(load.backend)->step_rows();
    const eval::WindowLimits limits = eval::window_limits(window, subject.vocab, step_rows, o.model.batch_rows, o.sequences);
    if (window > subject.context)
        log_warning("{}: made for {} tokens, the window has {}", subject.name, subject.context, window);
    load.context = window;
    load.max_rows = limits.rows;
    load.max_sequences = limits.sequences;
    load.max_logit_rows = limits.logit_rows;
    return load_model(std::move(subject.checkpoint), load);
}

Json comparable_numerics(const Model& model) {
    Json numerics = model.numerics();
    numerics.erase("backend");
    // Elsewhere than on the CPU results may depend on what shares a step.
    if (model.backend->device() != "cpu" && model.backend->device() != "ref") {
        numerics["rows"] = model.limits.max_rows;
        numerics["sequences"] = model.limits.max_sequences;
    }
    return numerics;
}

Json protocol_json(const eval::ProtocolSettings& s) {
    return {{"name", std::string(eval::protocol_name(s.protocol))},
            {"window", s.window},
            {"stride", s.stride},
            {"rows", s.rows == eval::Rows::lines ? "lines joined by two line ends" : "the file as it is"},
            {"special_tokens_in_text", s.parse_special},
            {"bos", s.bos_in_each_window ? "replaces the first token of each window" : "as the tokenizer adds it to the text"},
            {"counted", s.protocol == eval::Protocol::llamacpp_512 ? "second half of each window"
                        : s.protocol == eval::Protocol::gptq_2048  ? "all but the first token of each window"
                                                                   : "tokens that no earlier window holds"}};
}

std::string protocol_text(const eval::ProtocolSettings& s) {
    const Json json = protocol_json(s);
    const auto text = [&](const char* key) { return json.at(key).get<std::string>(); };
    return fmt::format("{}: windows of {}, stride {}; counted: {}; BOS {}; text: {}, special tokens in it {}", text("name"),
                       s.window, s.stride, text("counted"), text("bos"), text("rows"),
                       s.parse_special ? "recognised" : "not recognised");
}

Json corpus_json(const eval::Corpus& corpus) {
    return {{"text", corpus.name},
            {"file_sha256", corpus.file_sha256},
            {"text_sha256", corpus.text_sha256},
            {"text_bytes", corpus.text_bytes},
            {"ids", corpus.ids.size()},
            {"ids_sha256", corpus.ids_sha256}};
}

EvaluationRun::EvaluationRun(const EvaluationOptions& options, std::string title, Json identity,
                             std::span<const eval::Window> windows, std::size_t values_per_target)
    : options_(options), title_(std::move(title)), windows_(windows) {
    state_.identity = std::move(identity);
    if (!options_.resume) return;
    std::optional<eval::ProgressState> found = eval::load_progress(*options_.resume);
    if (!found) return;
    eval::require_same_run(found->identity, state_.identity, *options_.resume);
    if (found->windows > static_cast<std::int64_t>(windows.size()))
        throw_error<UsageError>("{}: holds {} windows, {} are asked for; raise --chunks or give another file", *options_.resume,
                                found->windows, windows.size());
    std::size_t values = 0;
    for (const eval::Window& window : windows.first(static_cast<std::size_t>(found->windows)))
        values += static_cast<std::size_t>(window.targets()) * values_per_target;
    if (values != found->values.size())
        throw_error<BadFileError>("{}: {} values of {} windows, need {}; delete the file to begin again", *options_.resume,
                                  found->values.size(), found->windows, values);
    state_ = std::move(*found);
    saved_windows_ = state_.windows;
    log_info("{}: goes on after {} of {} windows", *options_.resume, state_.windows, windows.size());
}

void EvaluationRun::save() {
    if (!options_.resume || saved_windows_ == state_.windows) return;
    eval::save_progress(*options_.resume, state_);
    saved_windows_ = state_.windows;
}

void EvaluationRun::work_off(std::size_t at_once, FunctionRef<void(std::span<const eval::Window>, std::int64_t)> work,
                             FunctionRef<std::string(std::size_t)> describe) {
    SignalWatch signals;
    const std::span<const eval::Window> open = windows_.subspan(static_cast<std::size_t>(state_.windows));
    std::uint64_t tokens = 0;
    for (const eval::Window& window : open) tokens += static_cast<std::uint64_t>(window.length);
    ProgressBar bar(title_, tokens, "tokens");
    const double start = monotonic_seconds();
    for (std::size_t done = 0; done < open.size();) {
        // The state is written at multiples of --resume-every, whatever the batches are.
        const auto every = static_cast<std::size_t>(options_.resume_every);
        const std::size_t until_save = every - static_cast<std::size_t>(state_.windows) % every;
        const std::size_t count = std::min({at_once, open.size() - done, options_.resume ? until_save : at_once});
        const std::span<const eval::Window> batch = open.subspan(done, count);
        work(batch, state_.windows);
        state_.windows += static_cast<std::int64_t>(count);
        done += count;
        std::uint64_t batch_tokens = 0;
        for (const eval::Window& window : batch) batch_tokens += static_cast<std::uint64_t>(window.length);
        computed_tokens_ += static_cast<std::int64_t>(batch_tokens);
        bar.set_title(fmt::format("{} [{}/{}] {}", title_, state_.windows, windows_.size(),
                                  describe(static_cast<std::size_t>(state_.windows))));
        bar.advance(batch_tokens);
        const int signal = signals.caught();
        if (signal || static_cast<std::size_t>(state_.windows) % every == 0 || done == open.size()) save();
        if (signal) throw Interrupted(signal);
    }
    seconds_ = monotonic_seconds() - start;
}

Json EvaluationRun::timings() const {
    return {{"tokens", computed_tokens_},
            {"seconds", seconds_},
            {"tokens_per_second", seconds_ > 0.0 ? static_cast<double>(computed_tokens_) / seconds_ : 0.0}};
}

}  // namespace narae::cli
