// What it costs to add a file layout: this file. A .toy file is one line of JSON (the configuration and, per tensor, name,
// format, shape and bytes) and then the tensors' bytes.
#include "base/checked.h"
#include "checkpoint/checkpoint.h"

#include <algorithm>

namespace narae {
namespace {

Checkpoint open(const Path& path) {
    Checkpoint checkpoint;
    checkpoint.path = path;
    checkpoint.layout = "toy";
    checkpoint.files.push_back(std::make_unique<MappedFile>(path));
    const MappedFile& file = *checkpoint.files.back();
    checkpoint.file_bytes = file.bytes().size();
    const std::size_t line = file.text().find('\n');
    if (line == std::string_view::npos) throw_error<BadFileError>("{}: no header line", path.string());
    const Json header = parse_json(file.text().substr(0, line), path.string());
    checkpoint.config = header.at("config");
    std::uint64_t at = line + 1;
    for (const Json& entry : header.at("tensors")) {
        StoredWeight weight;
        weight.packed.name = entry.at("name").get<std::string>();
        weight.packed.format = find_format(entry.at("format").get<std::string>());
        if (!weight.packed.format)
            throw_error<BadFileError>("{}: tensor {} has an unknown format", path.string(), weight.packed.name);
        const auto dims = entry.at("shape").get<std::vector<std::int64_t>>();
        weight.shape = Shape(std::span<const std::int64_t>(dims));
        weight.packed.in = dims.back();
        weight.packed.out = weight.shape.elements() / dims.back();
        const auto bytes = entry.at("bytes").get<std::uint64_t>();
        if (checked_add(at, bytes, weight.packed.name) > file.bytes().size())
            throw_error<BadFileError>("{}: too short for {}", path.string(), weight.packed.name);
        weight.packed.buffers = {file.bytes().subspan(at, bytes)};
        weight.packed.file = &file;
        at += bytes;
        checkpoint.weights.push_back(std::move(weight));
    }
    std::sort(checkpoint.weights.begin(), checkpoint.weights.end(),
              [](const auto& a, const auto& b) { return a.name() < b.name(); });
    return checkpoint;
}

void save(const CheckpointToSave& contents, const Path& target) {
    Json header = {{"config", contents.config}, {"tensors", Json::array()}};
    for (const WeightToSave& weight : contents.weights)
        header["tensors"].push_back(
            {{"name", weight.name},
             {"format", weight.format->name},
             {"shape", std::vector<std::int64_t>(weight.shape.dims().begin(), weight.shape.dims().end())},
             {"bytes", weight.bytes()}});
    AtomicFile file(target);
    file.write(dump_json(header) + "\n");
    for (const WeightToSave& weight : contents.weights) {
        std::vector<std::byte> bytes(weight.bytes());
        weight.produce(bytes);
        file.write(bytes);
    }
    file.commit();
}

const Layout kLayout{
    .name = "toy", .recognises = [](const Path& path) { return path.extension() == ".toy"; }, .open = open, .save = save};
const RegisterLayout kRegister(kLayout);

}  // namespace
}  // namespace narae
