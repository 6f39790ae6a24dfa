// A model ready to run: the decoder on a backend, with the memory that its limits ask for. Loading streams: each weight is
// packed for the backend and its file pages are released, so there is never a second copy of the whole.
#pragma once

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "kernels/backend.h"
#include "model/decoder.h"
#include "model/family.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace narae {

struct LoadOptions {
    kernels::BackendOptions backend;
    kernels::Activations activations = kernels::Activations::automatic;
    std::optional<kernels::KvType> kv_type;  // default: f32 with f32 activations, else f16
    int context = 0;                         // tokens of one sequence; 0: what the model was made for, at most 4096
    int max_rows = 0;                        // of one step; 0: what keeps the backend busy
    int max_sequences = 1;
    int max_logit_rows = 0;  // 0: max_sequences
    std::int64_t kv_bytes = 0;
    bool progress = true;  // a bar on stderr
};

// Where the seconds of loading went.
struct LoadTimes {
    double device = 0.0;   // opening it
    double plan = 0.0;     // configuration, weight table, memory plan
    double weights = 0.0;  // reading and packing
    double memory = 0.0;   // buffers
};

struct Model {
    Checkpoint checkpoint;  // mapped files that lookup tables still view; configuration and metadata
    const Family* family = nullptr;
    kernels::Limits limits;
    kernels::ModelShape shape;
    kernels::MemoryPlan plan;
    kernels::KvType kv_type = kernels::KvType::f16;
    kernels::Activations activations = kernels::Activations::automatic;
    std::unique_ptr<kernels::Backend> backend;
    Decoder decoder;
    kernels::Workspace workspace;
    double load_seconds = 0.0;
    LoadTimes load_times;

    const ModelConfig& config() const { return decoder.config; }
    // How numbers are held and computed: format and kernel per slot, activations, KV type, backend, instruction set.
    Json numerics() const;
};

// BadFileError: damaged or unsupported. ResourceError before anything is loaded when the plan does not fit, with the numbers
// and what to change.
Model load_model(Checkpoint checkpoint, const LoadOptions& options);

// What loading would need, without reading weights (`info`).
struct ModelSummary {
    const Family* family = nullptr;
    ModelConfig config;
    std::vector<FoundWeight> weights;
    bool tied_head = false;        // the output matrix is the embedding
    std::uint64_t parameters = 0;  // tied heads counted once
    kernels::ModelShape shape;
    kernels::Limits limits;
    kernels::MemoryPlan plan;
};
ModelSummary summarize_model(const Checkpoint& checkpoint, const kernels::Backend& backend, const LoadOptions& options);

// Whether the output matrix is the embedding: none is stored, or it is said to be tied and the same bytes are stored twice. A
// stored one that differs wins over the configuration (as in transformers v5), with a warning.
bool head_is_embedding(const ModelConfig& config, std::span<const FoundWeight> weights, const Path& path);

}  // namespace narae
