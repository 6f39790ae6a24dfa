#include "base/checked.h"
#include "base/error.h"
#include "formats/format.h"

#include <algorithm>

namespace narae {
namespace {

// Kept sorted by name. A function-local static: the objects that register themselves are built before main, in any order.
std::vector<const Format*>& formats() {
    static std::vector<const Format*> list;
    return list;
}

template <class Condition>
const Format* find_if(Condition condition) {
    const auto found = std::find_if(formats().begin(), formats().end(), condition);
    return found == formats().end() ? nullptr : *found;
}

}  // namespace

RegisterFormat::RegisterFormat(const Format& format) {
    std::vector<const Format*>& list = formats();
    const auto place = std::lower_bound(list.begin(), list.end(), format.name,
                                        [](const Format* each, std::string_view name) { return each->name < name; });
    NARAE_CHECK(place == list.end() || (*place)->name != format.name, "format {} is registered twice", format.name);
    list.insert(place, &format);
}

std::span<const Format* const> all_formats() { return formats(); }

const Format* find_format(std::string_view name) {
    return find_if([&](const Format* format) { return format->name == name; });
}

const Format* find_format(DType dtype) {
    return find_if([&](const Format* format) { return format->dtype == dtype; });
}

const Format* find_gguf_format(std::uint32_t gguf_type) {
    return find_if([&](const Format* format) { return format->gguf_type == gguf_type; });
}

std::uint64_t PackedWeight::bytes() const {
    std::uint64_t sum = 0;
    for (const auto& buffer : buffers) sum += buffer.size();
    return sum;
}

void validate(const PackedWeight& weight) {
    NARAE_CHECK(weight.format != nullptr, "weight {} without a format", weight.name);
    const Format& format = *weight.format;
    if (weight.out <= 0 || weight.in <= 0)
        throw_error<BadFileError>("weight {}: shape [{}, {}], need positive dimensions", weight.name, weight.out, weight.in);
    if (weight.in % format.block != 0)
        throw_error<BadFileError>("weight {}: rows of {} elements, format {} needs a multiple of {}", weight.name, weight.in,
                                  format.name, format.block);
    if (weight.buffers.size() != 1)
        throw_error<BadFileError>("weight {}: {} buffers, format {} needs 1", weight.name, weight.buffers.size(), format.name);
    const auto blocks =
        checked_mul(static_cast<std::uint64_t>(weight.out), static_cast<std::uint64_t>(weight.in / format.block), weight.name);
    const auto needed = checked_mul(blocks, static_cast<std::uint64_t>(format.block_bytes), weight.name);
    if (weight.codes().size() != needed)
        throw_error<BadFileError>("weight {}: {} bytes, shape [{}, {}] in format {} needs {}", weight.name,
                                  weight.codes().size(), weight.out, weight.in, format.name, needed);
    checked_mul(static_cast<std::uint64_t>(weight.out) * 4, static_cast<std::uint64_t>(weight.in), weight.name);
}

std::vector<float> unpack_all(const PackedWeight& weight) {
    validate(weight);
    std::vector<float> values(static_cast<std::size_t>(weight.out) * static_cast<std::size_t>(weight.in));
    weight.format->unpack(weight, 0, weight.out, values.data());
    return values;
}

}  // namespace narae
