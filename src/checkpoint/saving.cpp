#include "checkpoint/saving.h"

#include "base/error.h"

#include <algorithm>

namespace narae {

void check_weights_to_save(const CheckpointToSave& contents) {
    std::vector<std::string_view> names;
    for (const WeightToSave& weight : contents.weights) {
        NARAE_CHECK((weight.format || weight.dtype) && weight.produce, "weight {} without format or contents", weight.name);
        names.push_back(weight.name);
        if (!weight.format) continue;
        const int rank = weight.shape.rank();
        const std::int64_t in = rank > 0 ? weight.shape[rank - 1] : 1;
        if (in % weight.format->block != 0)
            throw_error<UsageError>("tensor {}: rows of {} elements, format {} needs a multiple of {}; choose another format",
                                    weight.name, in, weight.format->name, weight.format->block);
    }
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    NARAE_CHECK(twice == names.end(), "tensor {} is to be saved twice", *twice);
}

std::span<const std::byte> WeightProducer::produce(const WeightToSave& weight) {
    const std::uint64_t bytes = weight.bytes();
    if (buffer_.size() < bytes) {
        buffer_ = Buffer();  // before the larger one, so that both are never there
        buffer_ = Buffer(bytes);
    }
    const std::span<std::byte> part = buffer_.bytes().first(bytes);
    weight.produce(part);
    return part;
}

}  // namespace narae
