// Between naming conventions, file layouts and number formats: GGUF and Hugging Face folders, either way, with tokenizer and
// chat template, so that transformers and llama.cpp load the result. What is produced reads one weight at a time.
#pragma once

#include "checkpoint/checkpoint.h"
#include "model/family.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace narae {

struct ConvertOptions {
    Naming naming = Naming::hugging_face;  // of the target
    // Format of the matrices: f32, f16, bf16, and in GGUF q8_0, q4_0, q4_1, q5_0, q5_1. Absent: as stored, and what the target
    // cannot hold as f16. f32 is exact for every format: code x scale.
    std::optional<std::string> format;
    int threads = 0;                              // 0: usable processors
    std::string name;                             // of the model; empty: the source's own, else its file name
    std::function<void(std::uint64_t)> progress;  // bytes written, after each weight
};

// What to save with the layout "gguf" or "safetensors". Views `checkpoint`, which must outlive the result. UsageError: a format
// that cannot be packed or that the target cannot hold. BadFileError: something that the target has no way to say.
CheckpointToSave convert(const Checkpoint& checkpoint, const ConvertOptions& options);

}  // namespace narae
