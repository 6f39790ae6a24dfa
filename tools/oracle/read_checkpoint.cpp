// What narae's readers find in model files, for checkpoint_differential.py: a path a line on standard input (KIND PATH, KIND
// is gguf or safetensors), a JSON object a line on standard output.
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "formats/format.h"

#include <iostream>

using namespace narae;

namespace {

std::string hexadecimal(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
}

Json dims_of(const Shape& shape) { return std::vector<std::int64_t>(shape.dims().begin(), shape.dims().end()); }

Json read_safetensors(const MappedFile& file) {
    Json tensors = Json::object();
    for (const SafetensorsTensor& tensor : parse_safetensors(file.bytes(), "file"))
        tensors[tensor.name] = {dtype_name(tensor.dtype), dims_of(tensor.shape), hexadecimal(tensor.bytes)};
    return {{"tensors", tensors}};
}

Json read_gguf(const MappedFile& file) {
    const GgufFile parsed = parse_gguf(file.bytes(), "file");
    Json tensors = Json::object(), metadata = Json::object();
    for (const GgufTensor& tensor : parsed.tensors)
        tensors[std::string(tensor.name)] = {tensor.format ? tensor.format->name : dtype_name(*tensor.dtype),
                                             dims_of(tensor.shape), hexadecimal(tensor.bytes)};
    for (const Metadata::Entry& entry : parsed.metadata.entries())
        metadata[std::string(entry.key)] = {static_cast<int>(entry.value.type), hexadecimal(entry.value.bytes)};
    return {{"tensors", tensors}, {"metadata", metadata}};
}

}  // namespace

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        const std::size_t space = line.find(' ');
        Json answer;
        try {
            const MappedFile file(line.substr(space + 1));
            answer = line.substr(0, space) == "gguf" ? read_gguf(file) : read_safetensors(file);
        } catch (const BadFileError& error) {
            answer = {{"refused", error.what()}};
        }
        std::cout << dump_json(answer) << "\n" << std::flush;
    }
}
