#include "checkpoint/quantized_layout.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace narae {
namespace {

// Sorted by name. A function-local static: the objects that register themselves are built before main, in any order.
std::vector<const QuantizedLayout*>& layouts() {
    static std::vector<const QuantizedLayout*> list;
    return list;
}

}  // namespace

RegisterQuantizedLayout::RegisterQuantizedLayout(const QuantizedLayout& layout) {
    auto& list = layouts();
    const auto place = std::ranges::lower_bound(list, layout.name, {}, &QuantizedLayout::name);
    NARAE_CHECK(place == list.end() || (*place)->name != layout.name, "layout {} is registered twice", layout.name);
    list.insert(place, &layout);
}

std::span<const QuantizedLayout* const> quantized_layouts() { return layouts(); }

const QuantizedLayout* find_quantized_layout(std::string_view name) {
    const auto layout = std::ranges::find(layouts(), name, &QuantizedLayout::name);
    return layout == layouts().end() ? nullptr : *layout;
}

WeightToSave tensor_to_save(TensorToWrite tensor) {
    WeightToSave weight;
    weight.name = tensor.name;
    weight.shape = tensor.shape;
    weight.dtype = tensor.dtype;
    const auto bytes = std::make_shared<Buffer>(std::move(tensor.bytes));
    weight.produce = [bytes](std::span<std::byte> target) {
        NARAE_CHECK(bytes->size() == target.size(), "{} bytes of {}", bytes->size(), target.size());
        std::memcpy(target.data(), bytes->data(), target.size());
        *bytes = Buffer();
    };
    return weight;
}

}  // namespace narae
