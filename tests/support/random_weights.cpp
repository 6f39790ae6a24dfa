#include "support/random_weights.h"

#include "base/error.h"
#include "formats/ggml_blocks.h"
#include "formats/int_groups.h"
#include "formats/scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <random>

namespace narae::test {
namespace {

constexpr float kDeviation = 0.05f;

// Distributions of our own: those of the standard library may differ between implementations.
class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    std::uint64_t bits() { return engine_(); }
    double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }  // [0, 1)
    float normal() {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
        return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * uniform()));
    }
    // Of either sign and within a factor of 4; now and then 16 times larger.
    Half scale(float typical) {
        const double size = typical * (0.5 + 1.5 * uniform()) * (engine_() % 64 == 0 ? 16.0 : 1.0);
        return to_half(static_cast<float>(engine_() % 4 == 0 ? -size : size));
    }

private:
    std::mt19937_64 engine_;
};

OwnedWeight empty_weight(const Format& format, std::int64_t out, std::int64_t in, std::size_t offset) {
    NARAE_CHECK(out > 0 && in > 0 && in % format.block == 0, "shape [{}, {}] in format {}", out, in, format.name);
    const auto bytes = static_cast<std::size_t>(out * format.row_bytes(in));
    OwnedWeight owned{Buffer(offset + bytes), {}};
    owned.weight.format = &format;
    owned.weight.out = out;
    owned.weight.in = in;
    owned.weight.buffers = {std::span<const std::byte>(owned.buffer.bytes().subspan(offset))};
    owned.weight.name = format.name;
    return owned;
}

// How large scale and minimum (0: none) are for values of deviation 1, when all code bytes are equally likely.
struct TypicalScale {
    float scale, minimum;
};

// Random bytes everywhere but in the scales.
template <class Block>
void fill_blocks(std::span<std::byte> bytes, TypicalScale typical, Random& random) {
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Block)) {
        for (std::size_t i = 0; i < sizeof(Block); ++i) bytes[at + i] = static_cast<std::byte>(random.bits() >> 56);
        Block block = load_block<Block>(&bytes[at]);
        block.scale = random.scale(typical.scale * kDeviation);
        if constexpr (requires { block.minimum; }) block.minimum = random.scale(typical.minimum * kDeviation);
        std::memcpy(&bytes[at], &block, sizeof block);
    }
}

// Another scaling than the usual one, so that small weights have several groups too.
Scaling small_scaling(const Format& format, std::uint64_t seed) {
    Scaling scaling = format.scaling;
    if (scaling.columns > 32 && scaling.columns != kWhole) scaling.columns = 32;
    if (scaling.rows > 16 && scaling.rows != kWhole) scaling.rows = 16;
    if ((format.name == "nf4" || format.name == "fp4") && seed % 2 == 1) {
        scaling.dtype = DType::u8;
        scaling.nested = 256;
    }
    return scaling;
}

std::vector<BufferRole> open_buffers(const Format& format, std::uint64_t seed) {
    if (int_bits(format) == 0) return {};
    switch (seed % 4) {
        case 0:
            return {BufferRole::zeros, BufferRole::group_index};
        case 1:
            return {};
        case 2:
            return {BufferRole::offsets};
        default:
            return {BufferRole::zeros};
    }
}

// Columns take the groups by turns, as after a sorting by importance.
void fill_group_index(const OwnedWeight& owned) {
    const std::span<std::byte> index = owned.bytes_of(BufferRole::group_index);
    const std::int64_t groups = scale_grid(owned.weight).columns;
    for (std::size_t column = 0; column < index.size() / 4; ++column) {
        const auto group = static_cast<std::int32_t>(static_cast<std::int64_t>(column) * 7 % groups);
        std::memcpy(&index[column * 4], &group, sizeof group);
    }
}

// The same weight, every buffer at its own odd place.
OwnedWeight shifted(const OwnedWeight& from, std::size_t offset) {
    std::size_t bytes = 0;
    for (const PackedBuffer& buffer : from.weight.buffers) bytes += (buffer.bytes.size() + 63) / 64 * 64 + 64;
    OwnedWeight to{Buffer(bytes), from.weight};
    std::size_t at = 0;
    for (PackedBuffer& buffer : to.weight.buffers) {
        const std::span<std::byte> place = to.buffer.bytes().subspan(at + offset, buffer.bytes.size());
        std::ranges::copy(buffer.bytes, place.begin());
        buffer.bytes = place;
        at += (place.size() + 63) / 64 * 64 + 64;
    }
    return to;
}

OwnedWeight random_scaled_weight(const Format& format, std::int64_t out, std::int64_t in, std::uint64_t seed,
                                 std::size_t offset) {
    OwnedWeight owned =
        make_weight(format, out, in, small_scaling(format, seed), open_buffers(format, seed), std::string(format.name));
    fill_group_index(owned);
    format.pack_weight(random_values(static_cast<std::size_t>(out * in), seed, kDeviation).data(), owned);
    return shifted(owned, offset);
}

}  // namespace

std::vector<float> random_values(std::size_t count, std::uint64_t seed, float deviation) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values) value = random.normal() * deviation * (random.bits() % 128 == 0 ? 20.0f : 1.0f);
    return values;
}

OwnedWeight pack_weight(const Format& format, std::int64_t out, std::int64_t in, std::span<const float> values) {
    if (format.pack_weight) {
        NARAE_CHECK(values.size() == static_cast<std::size_t>(out * in), "{} values for [{}, {}]", values.size(), out, in);
        OwnedWeight owned = make_weight(format, out, in, format.scaling);
        format.pack_weight(values.data(), owned);
        return owned;
    }
    NARAE_CHECK(format.pack && values.size() == static_cast<std::size_t>(out * in), "{} values for [{}, {}] in format {}",
                values.size(), out, in, format.name);
    OwnedWeight owned = empty_weight(format, out, in, 0);
    format.pack(values.data(), out * in, owned.buffer.data());
    return owned;
}

OwnedWeight random_weight(const Format& format, std::int64_t out, std::int64_t in, std::uint64_t seed, std::size_t offset) {
    if (format.pack_weight) return random_scaled_weight(format, out, in, seed, offset);
    OwnedWeight owned = empty_weight(format, out, in, offset);
    const std::span<std::byte> codes = owned.buffer.bytes().subspan(offset);
    if (format.pack) {
        format.pack(random_values(static_cast<std::size_t>(out * in), seed, kDeviation).data(), out * in, codes.data());
        return owned;
    }
    Random random(seed);
    // Root mean squares of (scale code x code) and (minimum code) under equally likely bytes.
    if (format.name == "q2_k")
        fill_blocks<BlockQ2K>(codes, {1 / 16.5f, 1 / 8.8f}, random);
    else if (format.name == "q3_k")
        fill_blocks<BlockQ3K>(codes, {1 / 43.3f, 0}, random);
    else if (format.name == "q4_k")
        fill_blocks<BlockQ4K>(codes, {1 / 321.0f, 1 / 36.5f}, random);
    else if (format.name == "q5_k")
        fill_blocks<BlockQ5K>(codes, {1 / 658.0f, 1 / 36.5f}, random);
    else if (format.name == "q6_k")
        fill_blocks<BlockQ6K>(codes, {1 / 1365.0f, 0}, random);
    else
        throw_error<InternalError>("random_weight: no rule for format {}", format.name);
    return owned;
}

}  // namespace narae::test
