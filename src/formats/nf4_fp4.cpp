#include "formats/nf4_fp4.h"

#include "base/checked.h"
#include "base/error.h"
#include "formats/scales.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace narae {
namespace {

constexpr std::int64_t kSmallestBlock = 32, kLargestBlock = 4096;

constexpr std::array<float, 16> kNf4 = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};
// (0, 0.0625, 8, 12, 4, 6, 2, 3) / 12
constexpr std::array<float, 16> kFp4 = {0.0f, 0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
                                        0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f};

// Seven decades; decade i is divided into 2^i equal parts of 0.1 ... 1, whose middles, times 10^(i - 6), it represents with
// either sign. Then 0 and 1. In float32, rounded as torch.linspace does on processors with fused multiply-add; without, 42 of
// the numbers differ in their last bit. Files hold the one that they were written with.
std::array<float, 256> make_dynamic_code_book() {
    constexpr std::array<float, 7> kPowers = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    std::array<float, 256> book{};
    std::size_t count = 0;
    for (std::size_t decade = 0; decade < kPowers.size(); ++decade) {
        const int parts = 1 << decade;
        const float step = (1.0f - 0.1f) / static_cast<float>(parts);
        // From either end to the middle.
        const auto boundary = [&](int i) {
            return i < (parts + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1f)
                                       : std::fma(-step, static_cast<float>(parts - i), 1.0f);
        };
        for (int i = 0; i < parts; ++i) {
            const float middle = (boundary(i) + boundary(i + 1)) / 2.0f;
            book[count++] = kPowers[decade] * middle;
            book[count++] = -kPowers[decade] * middle;
        }
    }
    book[count++] = 0.0f;
    book[count++] = 1.0f;
    NARAE_CHECK(count == book.size(), "{} numbers", count);
    std::ranges::sort(book);
    return book;
}

std::int64_t elements(const PackedWeight& weight) { return weight.out * weight.in; }
std::int64_t blocks(const PackedWeight& weight) { return divided_up(elements(weight), weight.scaling.columns); }

std::vector<BufferSize> buffers(const PackedWeight& weight) {
    const Scaling& scaling = weight.scaling;
    if (scaling.rows != 1 || scaling.columns < kSmallestBlock || scaling.columns > kLargestBlock ||
        !std::has_single_bit(static_cast<std::uint64_t>(scaling.columns)))
        throw_error<BadFileError>(
            "weight {}: a scale for [{}, {}] elements, format {} needs blocks of a power of two from {} to {}", weight.name,
            scaling.rows, scaling.columns, weight.format->name, kSmallestBlock, kLargestBlock);
    if (scaling.nested < 0 || scaling.dtype != (scaling.nested > 0 ? DType::u8 : DType::f32))
        throw_error<BadFileError>(
            "weight {}: scales of type {} in nested blocks of {}, format {} needs F32 without, or U8 with nested blocks",
            weight.name, dtype_name(scaling.dtype), scaling.nested, weight.format->name);
    checked_mul(checked_mul(static_cast<std::uint64_t>(weight.out), std::uint64_t{4}, weight.name),
                static_cast<std::uint64_t>(weight.in), weight.name);
    const auto count = static_cast<std::uint64_t>(blocks(weight));
    std::vector<BufferSize> sizes = {{BufferRole::codes, static_cast<std::uint64_t>(divided_up(elements(weight), 2))},
                                     {BufferRole::scales, bytes_of_numbers(weight, 1, count, scaling.dtype)},
                                     {BufferRole::code_book, kNf4.size() * sizeof(float)}};
    if (scaling.nested > 0) {
        const auto nested = static_cast<std::uint64_t>(divided_up(blocks(weight), scaling.nested));
        sizes.push_back({BufferRole::nested_scales, bytes_of_numbers(weight, 1, nested, DType::f32)});
        sizes.push_back({BufferRole::nested_code_book, std::tuple_size_v<std::array<float, 256>> * sizeof(float)});
        sizes.push_back({BufferRole::nested_offset, sizeof(float)});
    }
    return sizes;
}

// Scale `index` as a number.
float scale_at(const PackedWeight& weight, std::int64_t index) {
    const std::span<const std::byte> scales = weight.bytes_of(BufferRole::scales);
    if (weight.scaling.nested == 0) return load_number(scales, DType::f32, index);
    const int code = std::to_integer<int>(scales[static_cast<std::size_t>(index)]);
    const float number = load_number(weight.bytes_of(BufferRole::nested_code_book), DType::f32, code);
    const float scale = load_number(weight.bytes_of(BufferRole::nested_scales), DType::f32, index / weight.scaling.nested);
    return number * scale + load_number(weight.bytes_of(BufferRole::nested_offset), DType::f32, 0);
}

void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    NARAE_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= weight.out, "rows {} to {} of {}", row_begin, row_end,
                weight.out);
    const std::span<const std::byte> codes = weight.codes(), book = weight.bytes_of(BufferRole::code_book);
    const std::int64_t begin = row_begin * weight.in, end = row_end * weight.in, block = weight.scaling.columns;
    std::array<float, 16> numbers;
    std::memcpy(numbers.data(), book.data(), sizeof numbers);
    for (std::int64_t i = begin; i < end;) {
        const float scale = scale_at(weight, i / block);
        const std::int64_t block_end = std::min(end, (i / block + 1) * block);
        for (; i < block_end; ++i) {
            const int byte = std::to_integer<int>(codes[static_cast<std::size_t>(i / 2)]);
            *values++ = numbers[static_cast<std::size_t>(i % 2 == 0 ? byte >> 4 : byte & 15)] * scale;
        }
    }
}

// Finds the nearest number of a code book: the middles between its numbers, ascending, and the codes that they separate.
struct Nearest {
    std::vector<float> middles;
    std::vector<std::uint8_t> codes;

    explicit Nearest(std::span<const float> book) {
        for (std::size_t code = 0; code < book.size(); ++code) {
            const auto equal = std::ranges::find(book.first(code), book[code]);
            if (equal == book.begin() + static_cast<std::ptrdiff_t>(code)) codes.push_back(static_cast<std::uint8_t>(code));
        }
        std::ranges::sort(codes, {}, [&](std::uint8_t code) { return book[code]; });
        for (std::size_t i = 1; i < codes.size(); ++i) middles.push_back((book[codes[i - 1]] + book[codes[i]]) / 2.0f);
    }

    // The lower of two as near.
    std::uint8_t operator()(float value) const {
        return codes[static_cast<std::size_t>(std::ranges::lower_bound(middles, value) - middles.begin())];
    }
};

// One block: its largest magnitude, and the codes of its values. A block that the end cuts off is divided, not multiplied, and
// its scale is never below the smallest that is divided by.
template <class Take>
float pack_block(const Nearest& nearest, std::span<const float> values, bool cut_off, Take take) {
    constexpr float kSmallest = 1e-38f;
    float largest = 0.0f;
    for (const float value : values) largest = std::fmax(largest, std::fabs(value));
    const float divisor = std::fmax(largest, kSmallest), inverse = 1.0f / divisor;
    for (const float value : values) {
        const float scaled = cut_off ? value / divisor : value * inverse;
        take(nearest(std::isnan(scaled) ? 0.0f : std::clamp(scaled, -1.0f, 1.0f)));
    }
    return cut_off ? divisor : largest;
}

void pack_nested(std::span<const float> scales, float offset, const OwnedWeight& owned) {
    static const Nearest nearest(dynamic_code_book());
    const auto block = static_cast<std::size_t>(owned.weight.scaling.nested);
    const std::span<std::byte> codes = owned.bytes_of(BufferRole::scales), largest = owned.bytes_of(BufferRole::nested_scales);
    std::vector<float> shifted(scales.begin(), scales.end());
    for (float& scale : shifted) scale -= offset;
    std::size_t at = 0;
    for (std::size_t begin = 0; begin < shifted.size(); begin += block) {
        const std::size_t count = std::min(block, shifted.size() - begin);
        const float scale = pack_block(nearest, std::span(shifted).subspan(begin, count), count < block,
                                       [&](std::uint8_t code) { codes[at++] = static_cast<std::byte>(code); });
        store_number(largest, DType::f32, static_cast<std::int64_t>(begin / block), scale);
    }
    std::ranges::copy(std::as_bytes(dynamic_code_book()), owned.bytes_of(BufferRole::nested_code_book).begin());
    store_number(owned.bytes_of(BufferRole::nested_offset), DType::f32, 0, offset);
}

float mean_of(std::span<const float> values) {
    double sum = 0.0;
    for (const float value : values) sum += value;
    return static_cast<float>(sum / static_cast<double>(values.size()));
}

void pack_usual(const float* values, const OwnedWeight& owned) { pack_4bit(values, owned); }

constexpr Format format_of(std::string_view name) {
    Format format;
    format.name = name;
    format.unpack = unpack;
    format.buffers = buffers;
    format.scaling = {.rows = 1, .columns = 64, .dtype = DType::f32};
    format.pack_weight = pack_usual;
    return format;
}

constexpr Format kNf4Format = format_of("nf4"), kFp4Format = format_of("fp4");
const RegisterFormat kNf4Registered(kNf4Format), kFp4Registered(kFp4Format);

}  // namespace

std::span<const float, 16> nf4_code_book() { return kNf4; }
std::span<const float, 16> fp4_code_book() { return kFp4; }

std::span<const float, 256> dynamic_code_book() {
    static const std::array<float, 256> book = make_dynamic_code_book();
    return book;
}

std::vector<float> scales_of_4bit(const PackedWeight& weight) {
    std::vector<float> scales(static_cast<std::size_t>(blocks(weight)));
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = scale_at(weight, static_cast<std::int64_t>(i));
    return scales;
}

void pack_4bit(const float* values, const OwnedWeight& owned, std::optional<float> nested_offset) {
    const PackedWeight& weight = owned.weight;
    NARAE_CHECK(weight.format == &kNf4Format || weight.format == &kFp4Format, "format {}", weight.format->name);
    const std::span<const float, 16> book = weight.format == &kNf4Format ? nf4_code_book() : fp4_code_book();
    const Nearest nearest(book);
    const std::span<std::byte> codes = owned.bytes_of(BufferRole::codes);
    std::ranges::fill(codes, std::byte{0});
    std::vector<float> scales;
    std::size_t at = 0;
    for (std::int64_t begin = 0; begin < elements(weight); begin += weight.scaling.columns) {
        const std::int64_t count = std::min(weight.scaling.columns, elements(weight) - begin);
        const std::span<const float> block(values + begin, static_cast<std::size_t>(count));
        scales.push_back(pack_block(nearest, block, count < weight.scaling.columns, [&](std::uint8_t code) {
            codes[at / 2] |= static_cast<std::byte>(at % 2 == 0 ? code << 4 : code);
            ++at;
        }));
    }
    if (at % 2 == 1) codes[at / 2] |= static_cast<std::byte>(nearest(0.0f));
    std::ranges::copy(std::as_bytes(book), owned.bytes_of(BufferRole::code_book).begin());
    if (weight.scaling.nested > 0) return pack_nested(scales, nested_offset.value_or(mean_of(scales)), owned);
    std::ranges::copy(std::as_bytes(std::span(scales)), owned.bytes_of(BufferRole::scales).begin());
}

}  // namespace narae
