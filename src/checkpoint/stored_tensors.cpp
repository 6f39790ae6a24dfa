#include "checkpoint/stored_tensors.h"

#include "base/error.h"

#include <algorithm>

namespace narae {

OutIn out_in(const Shape& shape) {
    OutIn result;
    const int rank = shape.rank();
    if (rank == 0) return result;
    result.in = shape[rank - 1];
    result.out = Shape(shape.dims().first(static_cast<std::size_t>(rank - 1))).elements();
    return result;
}

const MappedFile& map_file(Checkpoint& checkpoint, const Path& path) {
    checkpoint.files.push_back(std::make_unique<MappedFile>(path));
    checkpoint.file_bytes += checkpoint.files.back()->bytes().size();
    return *checkpoint.files.back();
}

void add_weight(Checkpoint& checkpoint, std::string_view name, const Shape& shape, const Format& format,
                std::span<const std::byte> bytes, const MappedFile* file) {
    const OutIn size = out_in(shape);
    StoredWeight weight;
    weight.packed.format = &format;
    weight.packed.out = size.out;
    weight.packed.in = size.in;
    weight.packed.buffers.push_back(bytes);
    weight.packed.name = name;
    weight.shape = shape;
    weight.packed.file = file;
    checkpoint.weights.push_back(std::move(weight));
}

void add_other(Checkpoint& checkpoint, std::string_view name, const Shape& shape, DType dtype,
               std::span<const std::byte> bytes) {
    checkpoint.others.push_back({std::string(name), dtype, shape, bytes});
}

void finish_tensors(Checkpoint& checkpoint) {
    std::ranges::sort(checkpoint.weights, {}, &StoredWeight::name);
    std::ranges::sort(checkpoint.others, {}, &OtherTensor::name);
    const auto refuse = [&](std::string_view name) {
        throw_error<BadFileError>("{}: tensor \"{}\" is there twice", checkpoint.path.string(), name);
    };
    if (const auto twice = std::ranges::adjacent_find(checkpoint.weights, {}, &StoredWeight::name);
        twice != checkpoint.weights.end())
        refuse(twice->name());
    if (const auto twice = std::ranges::adjacent_find(checkpoint.others, {}, &OtherTensor::name);
        twice != checkpoint.others.end())
        refuse(twice->name);
    for (const OtherTensor& other : checkpoint.others)
        if (checkpoint.find(other.name)) refuse(other.name);
}

bool has_tensor(const Checkpoint& checkpoint, std::string_view name) {
    return checkpoint.find(name) || std::ranges::binary_search(checkpoint.others, name, {}, [](const OtherTensor& other) {
               return std::string_view(other.name);
           });
}

const StoredWeight* Checkpoint::find(std::string_view name) const {
    const auto by_name = [](const StoredWeight& weight) -> std::string_view { return weight.name(); };
    const auto weight = std::ranges::lower_bound(weights, name, {}, by_name);
    return weight != weights.end() && weight->name() == name ? &*weight : nullptr;
}

}  // namespace narae
