// Options that verbs share: which model, on which device, with how much memory; and sampling.
#pragma once

#include "cli/verb.h"
#include "kernels/sampling.h"
#include "model/model.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace narae::cli {

struct ModelOptions {
    std::string model;
    std::string device = "auto";
    int threads = 0;
    std::string instruction_set;
    std::string activations = "auto";
    std::string kv_type;
    int context = 0;
    std::uint64_t kv_max = 0;  // bytes; 0: what the sequences may need
    int batch_rows = 0;        // 0: what keeps the device busy
};
// MODEL, and with `running` also --device, --threads, --activations, --kv-type, --ctx-size, --batch-size.
void add_model_options(CLI::App& verb, ModelOptions& options, bool running);

kernels::BackendOptions backend_options(const ModelOptions& options);
std::string_view kv_type_name(kernels::KvType type);
LoadOptions load_options(const ModelOptions& options);
// What a model is called in results: the folder's or file's own name; a snapshot in the hub's cache has the name that it was
// asked by.
std::string display_name(const Path& path, const std::string& asked);

struct SamplingOptions {
    std::optional<float> temperature, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty;
    std::optional<int> top_k;
    std::optional<std::uint64_t> seed;
    std::vector<std::string> logit_bias;  // "ID+1.5", "ID-100"
};
void add_sampling_options(CLI::App& verb, SamplingOptions& options);

// Flags, else generation_config.json (which may ask for greedy: do_sample false), else temperature 1. A seed that was not
// given is drawn at random and printed.
kernels::SamplingParameters sampling_parameters(const SamplingOptions& options, const Json& generation_config);

// "1,2,3" or "1 2 3" to ids. UsageError naming the first thing that is no id.
std::vector<std::int32_t> parse_ids(std::string_view text);

// -p TEXT, -f FILE, or standard input when neither is given; checked to be UTF-8.
std::string read_prompt(const std::optional<std::string>& text, const std::optional<std::string>& file);

}  // namespace narae::cli
