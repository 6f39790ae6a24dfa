#include "base/checked.h"
#include "base/error.h"
#include "formats/format.h"
#include "formats/scales.h"

#include <algorithm>
#include <cstring>

namespace narae {
namespace {

// " with scales of [1, 128] elements", or nothing.
std::string scaling_text(const PackedWeight& weight) {
    if (!weight.format->buffers) return "";
    return fmt::format(" with a scale for [{}, {}] elements", std::min(weight.scaling.rows, weight.out),
                       std::min(weight.scaling.columns, weight.in));
}

// Kept sorted by name. A function-local static: the objects that register themselves are built before main, in any order.
std::vector<const Format*>& formats() {
    static std::vector<const Format*> list;
    return list;
}

std::vector<BufferSize> buffers_of(const PackedWeight& weight) {
    const Format& format = *weight.format;
    if (format.buffers) return format.buffers(weight);
    const auto blocks =
        checked_mul(static_cast<std::uint64_t>(weight.out), static_cast<std::uint64_t>(weight.in / format.block), weight.name);
    return {{BufferRole::codes, checked_mul(blocks, static_cast<std::uint64_t>(format.block_bytes), weight.name)}};
}

void check_buffers(const PackedWeight& weight, const std::vector<BufferSize>& needed) {
    const auto count = [&](BufferRole role) { return std::ranges::count(weight.buffers, role, &PackedBuffer::role); };
    for (const BufferSize& need : needed) {
        if (const auto found = count(need.role); found != 1)
            throw_error<BadFileError>("weight {}: {} buffers of {}, format {} needs 1", weight.name, found,
                                      role_name(need.role), weight.format->name);
        if (const std::size_t found = weight.bytes_of(need.role).size(); found != need.bytes)
            throw_error<BadFileError>("weight {}: {} bytes of {}, shape [{}, {}] in format {}{} needs {}", weight.name, found,
                                      role_name(need.role), weight.out, weight.in, weight.format->name, scaling_text(weight),
                                      need.bytes);
    }
    for (const PackedBuffer& buffer : weight.buffers)
        if (std::ranges::find(needed, buffer.role, &BufferSize::role) == needed.end())
            throw_error<BadFileError>("weight {}: a buffer of {}, format {}{} has none", weight.name, role_name(buffer.role),
                                      weight.format->name, scaling_text(weight));
}

void check_group_index(const PackedWeight& weight) {
    const std::span<const std::byte> index = weight.bytes_of(BufferRole::group_index);
    const std::int64_t groups = scale_grid(weight).columns;
    for (std::size_t column = 0; column < index.size() / sizeof(std::int32_t); ++column) {
        std::int32_t group;
        std::memcpy(&group, index.data() + column * sizeof group, sizeof group);
        if (group < 0 || group >= groups)
            throw_error<BadFileError>("weight {}: group index of column {} is {}, need 0 to {}", weight.name, column, group,
                                      groups - 1);
    }
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

void validate(const PackedWeight& weight) {
    NARAE_CHECK(weight.format != nullptr, "weight {} without a format", weight.name);
    const Format& format = *weight.format;
    if (weight.out <= 0 || weight.in <= 0)
        throw_error<BadFileError>("weight {}: shape [{}, {}], need positive dimensions", weight.name, weight.out, weight.in);
    if (weight.in % format.block != 0)
        throw_error<BadFileError>("weight {}: rows of {} elements, format {} needs a multiple of {}", weight.name, weight.in,
                                  format.name, format.block);
    // Of the values as float32; no product of dimensions below can overflow then.
    checked_mul(checked_mul(static_cast<std::uint64_t>(weight.out), std::uint64_t{4}, weight.name),
                static_cast<std::uint64_t>(weight.in), weight.name);
    check_buffers(weight, buffers_of(weight));
    check_group_index(weight);
}

std::vector<float> unpack_all(const PackedWeight& weight) {
    validate(weight);
    std::vector<float> values(static_cast<std::size_t>(weight.out) * static_cast<std::size_t>(weight.in));
    weight.format->unpack(weight, 0, weight.out, values.data());
    return values;
}

}  // namespace narae
