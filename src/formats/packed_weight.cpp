#include "formats/format.h"

#include "base/checked.h"
#include "base/error.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

constexpr std::uint64_t kBufferAlignment = 64;

}  // namespace

std::string_view role_name(BufferRole role) {
    constexpr std::array<std::string_view, kBufferRoles> kNames = {
        "codes",         "scales",           "zeros",         "offsets",     "group index", "code book",
        "nested scales", "nested code book", "nested offset", "global scale"};
    return kNames[static_cast<std::size_t>(role)];
}

bool PackedWeight::has(BufferRole role) const { return std::ranges::find(buffers, role, &PackedBuffer::role) != buffers.end(); }

std::span<const std::byte> PackedWeight::bytes_of(BufferRole role) const {
    const auto found = std::ranges::find(buffers, role, &PackedBuffer::role);
    return found == buffers.end() ? std::span<const std::byte>{} : found->bytes;
}

std::uint64_t PackedWeight::bytes() const {
    std::uint64_t sum = 0;
    for (const PackedBuffer& buffer : buffers) sum += buffer.bytes.size();
    return sum;
}

double PackedWeight::bits_per_weight() const {
    return static_cast<double>(bytes()) * 8 / (static_cast<double>(out) * static_cast<double>(in));
}

std::span<std::byte> OwnedWeight::bytes_of(BufferRole role) const {
    const std::span<const std::byte> bytes = weight.bytes_of(role);
    return {const_cast<std::byte*>(bytes.data()), bytes.size()};  // views of `buffer`
}

OwnedWeight make_weight(const Format& format, std::int64_t out, std::int64_t in, const Scaling& scaling,
                        std::span<const BufferRole> optional, std::string name) {
    NARAE_CHECK(format.buffers != nullptr, "format {} has no scales in a buffer", format.name);
    OwnedWeight owned;
    PackedWeight& weight = owned.weight;
    weight.format = &format;
    weight.out = out;
    weight.in = in;
    weight.scaling = scaling;
    weight.name = std::move(name);
    if (out <= 0 || in <= 0)
        throw_error<BadFileError>("weight {}: shape [{}, {}], need positive dimensions", weight.name, out, in);
    for (const BufferRole role : optional) weight.buffers.push_back({{}, role});
    const std::vector<BufferSize> sizes = format.buffers(weight);
    for (const BufferRole role : optional)
        NARAE_CHECK(std::ranges::find(sizes, role, &BufferSize::role) != sizes.end(), "format {} has no {}", format.name,
                    role_name(role));
    weight.buffers.clear();
    std::uint64_t bytes = 0;
    const auto padded = [&](std::uint64_t size) {
        return checked_add(size, kBufferAlignment - 1, weight.name) / kBufferAlignment * kBufferAlignment;
    };
    for (const BufferSize& size : sizes) bytes = checked_add(bytes, padded(size.bytes), weight.name);
    owned.buffer = Buffer(bytes);
    std::uint64_t at = 0;
    for (const BufferSize& size : sizes) {
        weight.buffers.push_back({owned.buffer.bytes().subspan(at, size.bytes), size.role});
        at += padded(size.bytes);
    }
    validate(weight);
    return owned;
}

}  // namespace narae
