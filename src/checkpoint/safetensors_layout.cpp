// Layout "safetensors": a folder in Hugging Face's form whose weights are plain numbers.
#include "base/error.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/stored_tensors.h"

namespace narae {
namespace {

bool recognises_safetensors(const Path& path) {
    if (!is_model_folder(path)) return false;
    try {
        return quantization_method(path, read_folder_json(path, kConfigFile)).empty();
    } catch (const BadFileError&) {
        return true;  // opening it says what is wrong with config.json
    }
}

void add_file(Checkpoint& checkpoint, const Path& path) {
    const MappedFile& file = map_file(checkpoint, path);
    for (const SafetensorsTensor& tensor : parse_safetensors(file.bytes(), path.string())) {
        const Format* format = find_format(tensor.dtype);
        if (format && !tensor.bytes.empty())
            add_weight(checkpoint, tensor.name, tensor.shape, *format, tensor.bytes, &file);
        else
            add_other(checkpoint, tensor.name, tensor.shape, tensor.dtype, tensor.bytes);
    }
}

Checkpoint open_safetensors(const Path& path) {
    Checkpoint checkpoint;
    checkpoint.path = path;
    checkpoint.layout = "safetensors";
    checkpoint.naming = Naming::hugging_face;
    checkpoint.config = read_folder_json(path, kConfigFile);
    checkpoint.generation_config = read_folder_json(path, kGenerationConfigFile);
    const WeightFiles weights = weight_files(path);
    for (const Path& file : weights.files) add_file(checkpoint, file);
    finish_tensors(checkpoint);
    for (const std::string& name : weights.tensors)
        if (!has_tensor(checkpoint, name))
            throw_error<BadFileError>("{}: \"weight_map\" has the tensor \"{}\", which is in none of the {} files",
                                      (path / kWeightIndexFile).string(), name, weights.files.size());
    return checkpoint;
}

const Layout kLayout{
    .name = "safetensors", .recognises = recognises_safetensors, .open = open_safetensors, .save = save_safetensors};
const RegisterLayout kRegister(kLayout);

}  // namespace
}  // namespace narae
