#include "base/error.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/saving.h"
#include "checkpoint/split_name.h"

#include <algorithm>

namespace narae {
namespace {

DType dtype_of(const WeightToSave& weight) { return weight.format ? weight.format->dtype.value() : weight.dtype.value(); }

struct Shard {
    std::vector<const WeightToSave*> weights;
    std::string name;
    std::uint64_t bytes = 0;
};

void check_for_safetensors(const CheckpointToSave& contents) {
    check_weights_to_save(contents);
    for (const WeightToSave& weight : contents.weights) {
        if (weight.format && !weight.format->dtype)
            throw_error<UsageError>(
                "tensor {}: layout safetensors cannot hold the format {}; choose --dtype f32, f16 or bf16, or --to gguf",
                weight.name, weight.format->name);
        if (weight.name.size() > kSafetensorsNameLimit || weight.name == "__metadata__")
            throw_error<UsageError>("tensor {}: safetensors does not allow the name", weight.name.substr(0, 64));
    }
    for (const auto& [name, text] : contents.text_files)
        NARAE_CHECK(!name.empty() && name.find('/') == std::string::npos && name != "..", "text file \"{}\"", name);
}

// Fills shards in order. Within one, wider elements come first, so that all tensors are aligned.
std::vector<Shard> plan_shards(const CheckpointToSave& contents) {
    std::vector<Shard> shards(1);
    for (const WeightToSave& weight : contents.weights) {
        const std::uint64_t bytes = weight.bytes();
        if (!shards.back().weights.empty() &&
            bytes > contents.shard_bytes - std::min(contents.shard_bytes, shards.back().bytes))
            shards.emplace_back();
        shards.back().weights.push_back(&weight);
        shards.back().bytes += bytes;
    }
    const auto width = [](const WeightToSave* weight) { return dtype_bits(dtype_of(*weight)); };
    const auto count = static_cast<std::int64_t>(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
        std::ranges::stable_sort(shards[i].weights, std::greater(), width);
        shards[i].name = count == 1 ? std::string(kWeightFile)
                                    : split_name("model", static_cast<std::int64_t>(i) + 1, count, ".safetensors");
    }
    return shards;
}

// The header with its length before it, padded so that the data is aligned.
std::string header_of(const Shard& shard) {
    Json header;
    header["__metadata__"] = {{"format", "pt"}};
    std::uint64_t offset = 0;
    for (const WeightToSave* weight : shard.weights) {
        const std::uint64_t end = offset + weight->bytes();
        Json entry;
        entry["dtype"] = dtype_name(dtype_of(*weight));
        entry["shape"] = Json::array();
        for (const std::int64_t dim : weight->shape.dims()) entry["shape"].push_back(dim);
        entry["data_offsets"] = {offset, end};
        // Appended without the search for an equal name that operator[] does: names are known to differ.
        static_cast<Json::object_t::Container&>(header.get_ref<Json::object_t&>()).emplace_back(weight->name, std::move(entry));
        offset = end;
    }
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    if (text.size() > kSafetensorsHeaderLimit)
        throw_error<UsageError>("{}: a header of {} bytes, safetensors allows {}; choose smaller shards", shard.name,
                                text.size(), kSafetensorsHeaderLimit);
    const std::uint64_t size = text.size();
    return std::string(reinterpret_cast<const char*>(&size), sizeof size) + text;
}

void write_text(const Path& path, std::string_view text) {
    const auto file = file_system().create(path);
    file->write(std::as_bytes(std::span(text.data(), text.size())));
    file->sync();
    file->close();
}

void write_shard(const Shard& shard, const Path& folder, WeightProducer& producer) {
    const std::string header = header_of(shard);
    const auto file = file_system().create(folder / shard.name);
    file->write(std::as_bytes(std::span(header.data(), header.size())));
    for (const WeightToSave* weight : shard.weights) file->write(producer.produce(*weight));
    file->sync();
    file->close();
}

std::string index_of(const std::vector<Shard>& shards) {
    std::uint64_t total = 0;
    std::vector<std::pair<std::string, std::string>> places;
    for (const Shard& shard : shards) {
        total += shard.bytes;
        for (const WeightToSave* weight : shard.weights) places.emplace_back(weight->name, shard.name);
    }
    std::ranges::sort(places);
    Json map = Json::object();
    for (auto& place : places)
        static_cast<Json::object_t::Container&>(map.get_ref<Json::object_t&>()).push_back(std::move(place));
    Json index;
    index["metadata"] = {{"total_size", total}};
    index["weight_map"] = std::move(map);
    return dump_json(index, 2) + "\n";
}

}  // namespace

void save_safetensors(const CheckpointToSave& contents, const Path& target) {
    check_for_safetensors(contents);
    AtomicFolder folder(target);
    const std::vector<Shard> shards = plan_shards(contents);
    WeightProducer producer;
    for (const Shard& shard : shards) write_shard(shard, folder.path(), producer);
    if (shards.size() > 1) write_text(folder.path() / kWeightIndexFile, index_of(shards));
    if (!contents.config.is_null()) write_text(folder.path() / kConfigFile, dump_json(contents.config, 2) + "\n");
    if (!contents.generation_config.is_null())
        write_text(folder.path() / kGenerationConfigFile, dump_json(contents.generation_config, 2) + "\n");
    for (const auto& [name, text] : contents.text_files) write_text(folder.path() / name, text);
    folder.commit();
}

}  // namespace narae
