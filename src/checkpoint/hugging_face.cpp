#include "checkpoint/hugging_face.h"

#include "base/error.h"
#include "checkpoint/json_scanner.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

constexpr std::uint64_t kIndexLimit = 100'000'000;
constexpr std::size_t kTensorLimit = std::size_t{1} << 20;

constexpr std::array<std::string_view, 8> kModelFiles = {
    kConfigFile,  kWeightFile,       kWeightIndexFile,     "tokenizer.json", "tokenizer_config.json",
    "vocab.json", "tokenizer.model", "chat_template.jinja"};

bool has_file(const Path& folder, std::string_view name) { return file_system().is_file(folder / name); }

std::vector<std::string> names_in(const Path& folder) {
    std::vector<std::string> names;
    for (const Path& path : file_system().list(folder)) names.push_back(path.filename().string());
    return names;
}

// What the index says: names of tensors and, sorted, of the files that hold them.
struct WeightIndex {
    std::vector<std::string> tensors, files;
};

WeightIndex read_index(const Path& path) {
    const MappedFile file(path);
    const std::string what = path.string();
    if (file.bytes().size() > kIndexLimit)
        throw_error<BadFileError>("{}: has {} bytes, need at most {}", what, file.bytes().size(), kIndexLimit);
    JsonScanner scanner(file.text(), what);
    WeightIndex index;
    bool has_map = false;
    scanner.object([&](std::string_view key) {
        if (key != "weight_map") return scanner.skip();
        if (has_map) scanner.fail("\"weight_map\" is there twice");
        has_map = true;
        scanner.object([&](std::string_view tensor) {
            if (index.tensors.size() == kTensorLimit)
                scanner.fail(fmt::format("\"weight_map\" has more than {} tensors", kTensorLimit));
            index.tensors.emplace_back(tensor);
            const std::string_view name = scanner.string();
            if (index.files.empty() || index.files.back() != name) index.files.emplace_back(name);
        });
    });
    scanner.end();
    if (!has_map)
        throw_error<BadFileError>("{}: \"weight_map\" is missing, need an object from tensor names to file names", what);
    if (index.files.empty()) throw_error<BadFileError>("{}: \"weight_map\" is empty", what);
    std::ranges::sort(index.tensors);
    if (const auto twice = std::ranges::adjacent_find(index.tensors); twice != index.tensors.end())
        throw_error<BadFileError>("{}: \"weight_map\" has the tensor \"{}\" twice", what, *twice);
    std::ranges::sort(index.files);
    index.files.erase(std::ranges::unique(index.files).begin(), index.files.end());
    return index;
}

void check_shard_name(const std::string& name, const Path& index) {
    const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                       name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
    if (!plain || !name.ends_with(".safetensors"))
        throw_error<BadFileError>("{}: \"weight_map\" names the file \"{}\", need a .safetensors file in the same folder",
                                  index.string(), name);
}

}  // namespace

Json read_folder_json(const Path& folder, std::string_view name, std::uint64_t limit) {
    const Path path = folder / name;
    if (!file_system().is_file(path)) return nullptr;
    Json document = parse_json(read_text_file(path, limit), path.string());
    if (!document.is_object()) throw_error<BadFileError>("{}: need a JSON object", path.string());
    return document;
}

bool is_model_folder(const Path& folder) {
    return file_system().is_directory(folder) &&
           std::ranges::any_of(kModelFiles, [&](std::string_view name) { return has_file(folder, name); });
}

std::string quantization_method(const Path& folder, const Json& config) {
    const std::string what = (folder / kConfigFile).string();
    if (config.is_object()) {
        for (const char* key : {"quantization_config", "compression_config"})
            if (const Json* quantization = get_object(config, key, what)) {
                if (const auto method = get_string(*quantization, "quant_method", what)) return *method;
                return std::string_view(key) == "compression_config" ? "compressed-tensors" : "unknown";
            }
    }
    if (has_file(folder, "quantize_config.json")) return "gptq";
    if (has_file(folder, "quant_config.json")) return "awq";
    return "";
}

bool is_pickle_name(std::string_view name) {
    const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
    return ends(".bin") || ends(".pt") || ends(".pth") || ends(".ckpt") || ends(".pkl");
}

WeightFiles weight_files(const Path& folder) {
    if (has_file(folder, kWeightFile)) return {{folder / kWeightFile}, {}};
    if (has_file(folder, kWeightIndexFile)) {
        const Path path = folder / kWeightIndexFile;
        WeightIndex index = read_index(path);
        WeightFiles result;
        result.tensors = std::move(index.tensors);
        for (const std::string& name : index.files) {
            check_shard_name(name, path);
            if (!has_file(folder, name))
                throw_error<IoError>("{}: the file is missing, {} names it; the download is not complete",
                                     (folder / name).string(), kWeightIndexFile);
            result.files.push_back(folder / name);
        }
        return result;
    }
    const std::vector<std::string> names = names_in(folder);
    const auto is_weights = [](const std::string& name) { return is_pickle_name(name) && name != "training_args.bin"; };
    if (const auto pickle = std::ranges::find_if(names, is_weights); pickle != names.end())
        throw_error<BadFileError>(
            "{}: has only PyTorch pickles ({}), which can run code when they are read; need {}: fetch the "
            "model's safetensors, or save it again with safe_serialization",
            folder.string(), *pickle, kWeightFile);
    const auto other = std::ranges::find_if(names, [](const std::string& name) { return name.ends_with(".safetensors"); });
    if (other != names.end())
        throw_error<BadFileError>("{}: found {}, need {} or {}", folder.string(), *other, kWeightFile, kWeightIndexFile);
    return {};
}

void refuse_folder(const Path& folder) {
    if (is_model_folder(folder)) {
        const std::string method = quantization_method(folder, read_folder_json(folder, kConfigFile));
        throw_error<BadFileError>("{}: quant_method \"{}\" is not supported; try the model unquantized or as GGUF",
                                  (folder / kConfigFile).string(), method);
    }
    weight_files(folder);  // says so when there are weights of another kind
    std::string found;
    const std::vector<std::string> names = names_in(folder);
    constexpr std::size_t kShown = 5;
    for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) found += fmt::format("{}{}", i ? ", " : "", names[i]);
    if (names.size() > kShown) found += ", ...";
    throw_error<BadFileError>("{}: holds no model: found {}, need {} with {}, or tokenizer files, or a .gguf file",
                              folder.string(), names.empty() ? "nothing" : found, kConfigFile, kWeightFile);
}

}  // namespace narae
