// nf4, fp4 and their double quantization: bit for bit with bitsandbytes' own definitions in torch, and what follows from the
// description.
#include "formats/nf4_fp4.h"
#include "base/error.h"
#include "formats/quantized_goldens.h"
#include "support/random_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace narae::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr Scaling kDouble{.rows = 1, .columns = 64, .dtype = DType::u8, .nested = 256};

std::string name_of(const Json& golden) { return golden.at("format").get<std::string>(); }
bool has_codes(const Json& golden) { return name_of(golden) == "nf4" || name_of(golden) == "fp4"; }
bool nested(const Json& golden) { return golden.contains("nested"); }

OwnedWeight weight_of(const Json& golden) {
    Scaling scaling{.rows = 1, .columns = golden.at("columns"), .dtype = DType::f32};
    if (nested(golden)) {
        scaling.dtype = DType::u8;
        scaling.nested = golden.at("nested");
    }
    const Json& shape = golden.at("shape");
    return make_weight(*find_format(name_of(golden)), shape.at(0), shape.at(1), scaling, {}, Goldens::name(golden));
}

std::span<const float> book_of(const Json& golden) {
    if (name_of(golden) == "nf4") return nf4_code_book();
    return fp4_code_book();
}

void put_floats(const OwnedWeight& owned, BufferRole role, std::span<const float> floats) {
    put(owned.bytes_of(role), std::as_bytes(floats));
}

// Codes of fp4 in which both zeros are one.
std::vector<std::uint8_t> with_one_zero(std::span<const std::byte> codes, bool fp4) {
    std::vector<std::uint8_t> nibbles;
    for (const std::byte byte : codes)
        for (const int code : {std::to_integer<int>(byte) >> 4, std::to_integer<int>(byte) & 15})
            nibbles.push_back(static_cast<std::uint8_t>(fp4 && code == 8 ? 0 : code));
    return nibbles;
}

TEST(Bitsandbytes4BitGoldens, CodeBooksAreTheOriginals) {
    const Goldens goldens("bitsandbytes");
    int checked = 0;
    for (const Json& golden : goldens.cases()) {
        if (!Goldens::has(golden, "numbers") || nested(golden)) continue;
        const std::span<const float> book = name_of(golden) == "dynamic"    ? std::span<const float>(dynamic_code_book())
                                            : name_of(golden) == "nf4_book" ? std::span<const float>(nf4_code_book())
                                                                            : std::span<const float>(fp4_code_book());
        EXPECT_EQ(first_difference(std::as_bytes(book), goldens.bytes(golden, "numbers")), "") << name_of(golden);
        ++checked;
    }
    EXPECT_EQ(checked, 3);
}

TEST(Bitsandbytes4BitGoldens, UnpackingGivesTheOriginalsValues) {
    const Goldens goldens("bitsandbytes");
    int plain = 0, doubled = 0;
    for (const Json& golden : goldens.cases()) {
        if (!has_codes(golden) || !Goldens::has(golden, "values")) continue;
        const OwnedWeight owned = weight_of(golden);
        put(owned.bytes_of(BufferRole::codes), goldens.bytes(golden, "codes"));
        put(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales"));
        put_floats(owned, BufferRole::code_book, book_of(golden));
        if (nested(golden)) {
            put(owned.bytes_of(BufferRole::nested_scales), goldens.bytes(golden, "nested_scales"));
            put(owned.bytes_of(BufferRole::nested_offset), goldens.bytes(golden, "nested_offset"));
            put_floats(owned, BufferRole::nested_code_book, dynamic_code_book());
            EXPECT_EQ(scales_of_4bit(owned.weight), goldens.array<float>(golden, "numbers"));
        }
        const std::vector<float> values = unpack_all(owned.weight);
        EXPECT_EQ(first_difference(std::as_bytes(std::span(values)), goldens.bytes(golden, "values")), "") << owned.weight.name;
        ++(nested(golden) ? doubled : plain);
    }
    EXPECT_EQ(plain, 12);
    EXPECT_EQ(doubled, 2);
}

TEST(Bitsandbytes4BitGoldens, PackingChoosesTheOriginalsCodesAndScales) {
    const Goldens goldens("bitsandbytes");
    int checked = 0;
    for (const Json& golden : goldens.cases()) {
        if (!has_codes(golden) || !Goldens::has(golden, "input")) continue;
        const OwnedWeight owned = weight_of(golden);
        std::optional<float> offset;
        if (nested(golden)) offset = goldens.array<float>(golden, "nested_offset")[0];
        pack_4bit(goldens.array<float>(golden, "input").data(), owned, offset);
        // bitsandbytes sorts fp4's two zeros as numbers of their own: small positive values get code 8, small negative ones 0.
        const bool fp4 = name_of(golden) == "fp4";
        EXPECT_EQ(with_one_zero(owned.weight.codes(), fp4), with_one_zero(goldens.bytes(golden, "codes"), fp4))
            << owned.weight.name;
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales")), "")
            << owned.weight.name;
        if (nested(golden)) {
            EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::nested_scales), goldens.bytes(golden, "nested_scales")), "");
        }
        ++checked;
    }
    EXPECT_EQ(checked, 14);
}

// 550 scales, of a weight that gives just these: in three nested blocks, the last one cut off.
TEST(Bitsandbytes4BitGoldens, DoubleQuantizationChoosesTheOriginalsCodes) {
    const Goldens goldens("bitsandbytes");
    int checked = 0;
    for (const Json& golden : goldens.cases()) {
        if (!nested(golden)) continue;
        const std::vector<float> absmax = goldens.array<float>(golden, "absmax");
        const OwnedWeight owned = weight_of(golden);
        const auto block = static_cast<std::size_t>(owned.weight.scaling.columns);
        std::vector<float> values(absmax.size() * block);
        for (std::size_t i = 0; i < absmax.size(); ++i) values[i * block + i % block] = i % 2 == 0 ? absmax[i] : -absmax[i];
        const float offset = goldens.array<float>(golden, "nested_offset")[0];
        pack_4bit(values.data(), owned, offset);
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales")), "");
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::nested_scales), goldens.bytes(golden, "nested_scales")), "");
        EXPECT_EQ(scales_of_4bit(owned.weight), goldens.array<float>(golden, "numbers"));
        // torch adds in float32 in an order of its own; of n positive numbers that is at most n - 1 roundings of the sum.
        pack_4bit(values.data(), owned);
        double mean = 0.0;
        for (const float value : absmax) mean += value / static_cast<double>(absmax.size());
        EXPECT_EQ(load_number(owned.bytes_of(BufferRole::nested_offset), DType::f32, 0), static_cast<float>(mean));
        EXPECT_LE(std::fabs(offset - mean), mean * static_cast<double>(absmax.size()) * 0x1p-24);
        ++checked;
    }
    EXPECT_EQ(checked, 3);
}

// Every code in either nibble, blocks across the ends of rows, the stored book and not the constant.
TEST(Bitsandbytes4Bit, EveryCodeHasTheValueOfTheStoredBook) {
    for (const char* name : {"nf4", "fp4"})
        for (const std::int64_t block : {32, 64, 4096})
            for (const std::int64_t in : {1, 31, 64, 100}) {
                const std::int64_t out = 7, count = out * in;
                const OwnedWeight owned =
                    make_weight(*find_format(name), out, in, {.rows = 1, .columns = block, .dtype = DType::f32});
                std::array<float, 16> book;
                for (int code = 0; code < 16; ++code)
                    book[static_cast<std::size_t>(code)] = 0.1f * static_cast<float>(code) - 0.7f;
                put_floats(owned, BufferRole::code_book, book);
                const std::int64_t blocks = (count + block - 1) / block;
                ASSERT_EQ(owned.bytes_of(BufferRole::scales).size(), static_cast<std::size_t>(4 * blocks));
                ASSERT_EQ(owned.bytes_of(BufferRole::codes).size(), static_cast<std::size_t>((count + 1) / 2));
                const auto scale_of = [](std::int64_t b) { return b % 3 == 0 ? -1e-30f : 0.3f * static_cast<float>(b); };
                for (std::int64_t b = 0; b < blocks; ++b)
                    store_number(owned.bytes_of(BufferRole::scales), DType::f32, b, scale_of(b));
                const auto code_of = [](std::int64_t i) { return static_cast<int>((i * 5 + i / 16) % 16); };
                for (std::int64_t i = 0; i < count; ++i)
                    owned.bytes_of(BufferRole::codes)[static_cast<std::size_t>(i / 2)] |=
                        static_cast<std::byte>(code_of(i) << (i % 2 == 0 ? 4 : 0));
                const std::vector<float> values = unpack_all(owned.weight);
                for (std::int64_t i = 0; i < count; ++i)
                    ASSERT_EQ(values[static_cast<std::size_t>(i)],
                              book[static_cast<std::size_t>(code_of(i))] * scale_of(i / block));
                std::vector<float> row(static_cast<std::size_t>(in));
                owned.weight.format->unpack(owned.weight, 3, 4, row.data());  // may begin inside a byte and a block
                EXPECT_TRUE(std::equal(row.begin(), row.end(), values.begin() + 3 * in));
            }
}

TEST(Bitsandbytes4Bit, TheFirstElementIsTheHighNibble) {
    const OwnedWeight owned = pack_weight(*find_format("nf4"), 1, 3, std::vector<float>{1.0f, -1.0f, 0.0f});
    EXPECT_EQ(owned.weight.codes()[0], std::byte{0xf0});
    EXPECT_EQ(owned.weight.codes()[1], std::byte{0x77});  // the unused nibble holds a zero too
}

// The nearest number of the book: half the distance to a neighbour at most.
TEST(Bitsandbytes4Bit, PackingTakesTheNearestNumber) {
    for (const char* name : {"nf4", "fp4"})
        for (const float deviation : {1.0f, 1e-5f, 1e20f}) {
            const std::vector<float> x = random_values(5 * 192, 61, deviation);
            const OwnedWeight owned = pack_weight(*find_format(name), 5, 192, x);
            const std::vector<float> y = unpack_all(owned.weight);
            const std::span<const float> book = std::string_view(name) == "nf4" ? std::span<const float>(nf4_code_book())
                                                                                : std::span<const float>(fp4_code_book());
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double scale = scales_of_4bit(owned.weight)[i / 64];
                double nearest = 1e300;
                for (const float number : book) nearest = std::min(nearest, std::fabs(x[i] - number * scale));
                // Rounded: the reciprocal, the product with it, the middle, and the value.
                ASSERT_LE(std::fabs(double{x[i]} - double{y[i]}), nearest + scale * 0x1p-21) << name << " " << i;
            }
        }
}

TEST(Bitsandbytes4Bit, AnyInputIsTaken) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const char* name : {"nf4", "fp4"})
        for (const float special : {nan, -nan, infinity, -infinity, 3e38f, -3e38f, 1e-45f, -1e-45f, 0.0f, -0.0f})
            for (const bool alone : {true, false})
                for (const Scaling& scaling : {find_format(name)->scaling, kDouble}) {
                    std::vector<float> x = alone ? std::vector<float>(100, special) : random_values(100, 71);
                    x[0] = x[99] = special;
                    const OwnedWeight owned = make_weight(*find_format(name), 1, 100, scaling);
                    pack_4bit(x.data(), owned);
                    EXPECT_EQ(unpack_all(owned.weight).size(), 100u);
                }
}

TEST(Bitsandbytes4Bit, BitsPerWeightCountEveryBuffer) {
    const Format& nf4 = *find_format("nf4");
    EXPECT_EQ(make_weight(nf4, 64, 64, nf4.scaling).weight.bits_per_weight(), 4.0 + 0.5 + 16 * 32.0 / 4096);
    // 4096 scales of 8 bits, 16 of 32, and two books and an offset.
    EXPECT_EQ(make_weight(nf4, 512, 512, kDouble).weight.bits_per_weight(),
              4.0 + 8.0 / 64 + 32.0 / (64 * 256) + (16 + 256 + 1) * 32.0 / (512 * 512));
}

TEST(Bitsandbytes4Bit, ValidateNamesWhatIsWrong) {
    const OwnedWeight owned = make_weight(*find_format("nf4"), 3, 65, kDouble, {}, "layers.0.q");
    EXPECT_NO_THROW(validate(owned.weight));
    const auto expect_error = [&](auto change, const std::string& message) {
        PackedWeight weight = owned.weight;
        change(weight);
        EXPECT_THAT([&] { validate(weight); }, ThrowsMessage<BadFileError>(AllOf(HasSubstr("layers.0.q"), HasSubstr(message))));
    };
    for (const BufferRole role : {BufferRole::codes, BufferRole::scales, BufferRole::code_book, BufferRole::nested_scales,
                                  BufferRole::nested_code_book, BufferRole::nested_offset}) {
        expect_error(
            [&](auto& w) {
                for (PackedBuffer& buffer : w.buffers)
                    if (buffer.role == role) buffer.bytes = buffer.bytes.first(buffer.bytes.size() - 1);
            },
            fmt::format("{} bytes of {}", owned.bytes_of(role).size() - 1, role_name(role)));
        expect_error([&](auto& w) { std::erase_if(w.buffers, [&](auto& buffer) { return buffer.role == role; }); },
                     fmt::format("0 buffers of {}", role_name(role)));
    }
    for (const std::int64_t columns : {0, 1, 16, 48, 100, 8192, -64})
        expect_error([&](auto& w) { w.scaling.columns = columns; }, "need");
    expect_error([](auto& w) { w.scaling.rows = 2; }, "a scale for [2, 64] elements");
    expect_error([](auto& w) { w.scaling.dtype = DType::f32; }, "scales of type F32 in nested blocks of 256");
    expect_error([](auto& w) { w.scaling.nested = 0; }, "scales of type U8 in nested blocks of 0");
    expect_error([](auto& w) { w.scaling.nested = -1; }, "nested blocks of -1");
    expect_error([](auto& w) { w.scaling.nested = 2; }, "4 bytes of nested scales");
    expect_error([](auto& w) { w.out = std::int64_t{1} << 62; }, "overflows");
    expect_error([](auto& w) { w.buffers.push_back({w.codes(), BufferRole::zeros}); }, "a buffer of zeros");
}

}  // namespace
}  // namespace narae::test
