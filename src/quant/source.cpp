#include "quant/source.h"

#include "base/error.h"
#include "model/convert.h"

#include <algorithm>

namespace narae {

Source::Source(const Checkpoint& checkpoint, DType model) : model_(model) {
    NARAE_CHECK(model == DType::f16 || model == DType::bf16, "a model of {}", dtype_name(model));
    ConvertOptions options;
    options.naming = Naming::hugging_face;
    options.format = std::string(find_format(model)->name);
    contents_ = convert(checkpoint, options);
    const Family& family = find_family(checkpoint);
    config_ = family.read_config(contents_.config, checkpoint.path.string());
    for (WeightSlot& slot : family.weights(config_))
        if (std::ranges::find(contents_.weights, slot.hf, &WeightToSave::name) != contents_.weights.end())
            slots_.push_back(std::move(slot));
}

const WeightSlot* Source::find(int layer, Slot slot) const {
    const auto found = std::ranges::find_if(slots_, [&](const WeightSlot& s) { return s.layer == layer && s.slot == slot; });
    return found == slots_.end() ? nullptr : &*found;
}

Source::Saved Source::saved(const WeightSlot& slot) const {
    const auto weight = std::ranges::find(contents_.weights, slot.hf, &WeightToSave::name);
    NARAE_CHECK(weight != contents_.weights.end(), "no weight {}", slot.hf);
    Saved saved;
    saved.bytes.resize(weight->bytes());
    weight->produce(saved.bytes);
    saved.packed.format = weight->format;
    saved.packed.name = slot.hf;
    saved.packed.in = weight->shape[weight->shape.rank() - 1];
    saved.packed.out = weight->shape.elements() / saved.packed.in;
    saved.packed.buffers = {std::span<const std::byte>(saved.bytes)};
    return saved;
}

std::vector<float> Source::values(const WeightSlot& slot) const {
    const Saved weight = saved(slot);
    const PackedWeight& packed = weight.packed;
    std::vector<float> values = unpack_all(packed);
    if (!slot.hf_transposed || slot.shape.rank() != 2) return values;
    std::vector<float> turned(values.size());
    for (std::int64_t i = 0; i < packed.out; ++i)
        for (std::int64_t j = 0; j < packed.in; ++j)
            turned[static_cast<std::size_t>(j * packed.out + i)] = values[static_cast<std::size_t>(i * packed.in + j)];
    return turned;
}

std::string module_of(std::string_view weight) {
    constexpr std::string_view kEnding = ".weight";
    NARAE_CHECK(weight.ends_with(kEnding), "{} is no module's weight", weight);
    return std::string(weight.substr(0, weight.size() - kEnding.size()));
}

}  // namespace narae
