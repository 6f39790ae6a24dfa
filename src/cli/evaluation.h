// What the subjects of `narae eval` share: options, loading for windows, going on after an interruption, progress.
#pragma once

#include "base/progress.h"
#include "base/threads.h"
#include "checkpoint/text_files.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "eval/corpus.h"
#include "eval/progress_state.h"
#include "eval/window_logits.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace narae::cli {

struct EvaluationOptions {
    ModelOptions model;
    std::vector<std::string> texts;
    std::string protocol = "llama.cpp-512";
    int window = 0, stride = 0, chunks = 0, sequences = 0, resume_every = 16;
    std::optional<std::string> resume;                     // file of the state
    std::optional<std::string> save_base, base, kld_base;  // of divergence
    bool json = false;
};
void add_evaluation_options(CLI::App& verb, EvaluationOptions& options);

// A checkpoint with its text half, for a model that will be loaded for windows of a length that is not known yet.
struct EvaluationModel {
    std::string name;
    Path path;
    Checkpoint checkpoint;
    ModelText text;
    int context = 0;  // tokens that the model was made for
    int vocab = 0;
};
EvaluationModel open_for_evaluation(const std::string& model);
// Loads it for windows of so many tokens; `checkpoint` is used up.
Model load_for_windows(EvaluationModel& subject, const EvaluationOptions& options, int window);

// A model's numerics without what does not change numbers (threads).
Json comparable_numerics(const Model& model);
Json protocol_json(const eval::ProtocolSettings& settings);
std::string protocol_text(const eval::ProtocolSettings& settings);
Json corpus_json(const eval::Corpus& corpus);

// Windows that are worked off in batches, with a bar, a file to go on from, and an ear for signals.
class EvaluationRun {
public:
    // identity: what the values depend on. `windows`: all of them. values_per_target: doubles that a target makes.
    EvaluationRun(const EvaluationOptions& options, std::string title, Json identity, std::span<const eval::Window> windows,
                  std::size_t values_per_target);

    // Calls work(windows, index of the first) for batches of at most `at_once` until all are done; it appends to values().
    // describe(windows done) is shown beside the bar. Interrupted, after the state is saved, when a signal came.
    void work_off(std::size_t at_once, FunctionRef<void(std::span<const eval::Window>, std::int64_t)> work,
                  FunctionRef<std::string(std::size_t)> describe);

    std::vector<double>& values() { return state_.values; }
    // Tokens that this run computed, and the seconds it took.
    std::int64_t computed_tokens() const { return computed_tokens_; }
    double seconds() const { return seconds_; }
    Json timings() const;

private:
    void save();

    const EvaluationOptions& options_;
    std::string title_;
    std::span<const eval::Window> windows_;
    eval::ProgressState state_;
    std::int64_t saved_windows_ = 0;
    std::int64_t computed_tokens_ = 0;
    double seconds_ = 0.0;
};

void run_perplexity(const EvaluationOptions& options);
void run_divergence(const EvaluationOptions& options);

}  // namespace narae::cli
