// The model that is quantized, as a Hugging Face folder would hold it, whatever file it came from: names, order of rows, 16
// bits. Weights are read one at a time.
#pragma once

#include "checkpoint/checkpoint.h"
#include "model/family.h"

#include <string>
#include <vector>

namespace narae {

class Source {
public:
    // `model`: f16 or bf16, the type of what is not quantized. Views `checkpoint`.
    Source(const Checkpoint& checkpoint, DType model);

    const ModelConfig& config() const { return config_; }
    const CheckpointToSave& contents() const { return contents_; }  // everything that is saved
    DType model() const { return model_; }

    const WeightSlot* find(int layer, Slot slot) const;  // nullptr: the model has none
    // A weight as it is saved, with its memory; for tables of which few rows are wanted.
    struct Saved {
        std::vector<std::byte> bytes;
        PackedWeight packed;  // views them
    };
    Saved saved(const WeightSlot& slot) const;
    // float32 [out, in], or [n]; as rounded to the model's type.
    std::vector<float> values(const WeightSlot& slot) const;

private:
    CheckpointToSave contents_;
    ModelConfig config_;
    std::vector<WeightSlot> slots_;
    DType model_;
};

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string module_of(std::string_view weight);

}  // namespace narae
