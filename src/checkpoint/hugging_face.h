// What a folder in Hugging Face's form holds: configuration files and the names of its weight files. Layouts that store
// quantized weights in such folders use this too.
#pragma once

#include "base/file.h"
#include "base/json.h"

#include <string>
#include <string_view>
#include <vector>

namespace narae {

inline constexpr std::string_view kConfigFile = "config.json";
inline constexpr std::string_view kGenerationConfigFile = "generation_config.json";
inline constexpr std::string_view kWeightFile = "model.safetensors";
inline constexpr std::string_view kWeightIndexFile = "model.safetensors.index.json";

// The document, or null when the folder has no such file. BadFileError: not a JSON object, too large.
Json read_folder_json(const Path& folder, std::string_view name, std::uint64_t limit = std::uint64_t{4} << 20);

// The folder holds a configuration, weights or tokenizer files.
bool is_model_folder(const Path& folder);

// Who quantized the weights ("awq", "gptq", "bitsandbytes", ...); empty for plain weights.
std::string quantization_method(const Path& folder, const Json& config);

// A file of PyTorch's pickle format, by its name.
bool is_pickle_name(std::string_view name);

// model.safetensors, or the files that model.safetensors.index.json names, sorted; none when there are no weights.
struct WeightFiles {
    std::vector<Path> files;
    std::vector<std::string> tensors;  // that the index promises
};
// BadFileError: only pickles, a file name that leads out of the folder. IoError: a named file is missing.
WeightFiles weight_files(const Path& folder);

// BadFileError saying why no layout reads the folder.
[[noreturn]] void refuse_folder(const Path& folder);

}  // namespace narae
