// Integer codes in groups: bit for bit with compressed-tensors, AutoAWQ, AutoGPTQ and GPTQModel, and what follows from the
// description.
#include "formats/int_groups.h"
#include "base/error.h"
#include "formats/code_stream.h"
#include "formats/quantized_goldens.h"
#include "support/random_weights.h"
#include "tensor/scalar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace narae::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::array kAllBits = {2, 3, 4, 5, 6, 7, 8};

std::byte* codes_of_row(const OwnedWeight& owned, std::int64_t row) {
    const auto row_bytes = static_cast<std::int64_t>(
        code_stream_bytes(static_cast<std::uint64_t>(owned.weight.in), int_bits(*owned.weight.format)));
    return owned.bytes_of(BufferRole::codes).data() + row * row_bytes;
}

void put_codes(const OwnedWeight& owned, std::span<const std::uint8_t> codes) {
    for (std::int64_t row = 0; row < owned.weight.out; ++row)
        for (std::int64_t column = 0; column < owned.weight.in; ++column)
            store_code(codes_of_row(owned, row), column, int_bits(*owned.weight.format),
                       codes[static_cast<std::size_t>(row * owned.weight.in + column)]);
}

std::vector<std::uint8_t> all_codes(const OwnedWeight& owned) {
    std::vector<std::uint8_t> codes;
    for (std::int64_t row = 0; row < owned.weight.out; ++row)
        for (std::int64_t column = 0; column < owned.weight.in; ++column)
            codes.push_back(
                static_cast<std::uint8_t>(load_code(codes_of_row(owned, row), column, int_bits(*owned.weight.format))));
    return codes;
}

// The weight of a golden case without its contents.
OwnedWeight weight_of(const Json& golden) {
    std::vector<BufferRole> optional;
    if (Goldens::has(golden, "zeros")) optional.push_back(BufferRole::zeros);
    if (Goldens::has(golden, "group_index")) optional.push_back(BufferRole::group_index);
    return make_weight(int_format(golden.at("bits")), Goldens::rows(golden, "codes"), Goldens::columns(golden, "codes"),
                       scaling_of(golden, dtype_of(golden.at("dtype"))), optional, Goldens::name(golden));
}

TEST(IntGroupsGoldens, UnpackingGivesTheOriginalsValues) {
    const Goldens goldens("int_groups");
    std::map<std::string, int> checked;
    for (const Json& golden : goldens.cases()) {
        if (!Goldens::has(golden, "values")) continue;
        const OwnedWeight owned = weight_of(golden);
        put_codes(owned, goldens.array<std::uint8_t>(golden, "codes"));
        put(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales"));
        if (Goldens::has(golden, "zeros")) put(owned.bytes_of(BufferRole::zeros), goldens.bytes(golden, "zeros"));
        if (Goldens::has(golden, "group_index"))
            put(owned.bytes_of(BufferRole::group_index), goldens.bytes(golden, "group_index"));
        const DType dtype = dtype_of(golden.at("dtype"));
        EXPECT_EQ(first_difference(stored_as(dtype, unpack_all(owned.weight)), goldens.bytes(golden, "values")), "")
            << owned.weight.name;
        ++checked[golden.at("rule").get<std::string>()];
    }
    EXPECT_THAT(checked, testing::ElementsAre(testing::Pair("awq", 12), testing::Pair("compressed_tensors", 38),
                                              testing::Pair("gptq_layer", 4)));
}

TEST(IntGroupsGoldens, RoundingChoosesTheOriginalsCodesScalesAndZeros) {
    const std::map<std::string, IntRule> rules = {{"gptq", IntRule::gptq},
                                                  {"gptq_layer", IntRule::gptq},
                                                  {"awq", IntRule::awq},
                                                  {"compressed_tensors", IntRule::compressed_tensors}};
    const Goldens goldens("int_groups");
    for (const Json& golden : goldens.cases()) {
        const OwnedWeight owned = weight_of(golden);
        if (Goldens::has(golden, "group_index"))
            put(owned.bytes_of(BufferRole::group_index), goldens.bytes(golden, "group_index"));
        const IntRounding rounding{.rule = rules.at(golden.at("rule")),
                                   .bits = golden.at("bits"),
                                   .symmetric = golden.at("symmetric"),
                                   .dtype = dtype_of(golden.at("dtype"))};
        pack_int_groups(rounding, goldens.array<float>(golden, "input").data(), owned);
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales")), "")
            << "scales " << owned.weight.name;
        if (Goldens::has(golden, "zeros")) {
            EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::zeros), goldens.bytes(golden, "zeros")), "")
                << "zeros " << owned.weight.name;
        }
        const std::vector<std::uint8_t> codes = all_codes(owned);
        EXPECT_EQ(first_difference(std::as_bytes(std::span(codes)), goldens.bytes(golden, "codes")), "")
            << "codes " << owned.weight.name;
    }
}

TEST(CodeStream, EveryCodeComesBackAndLeavesItsNeighbours) {
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
        const int count = 64, most = (1 << bits) - 1;
        const std::uint64_t bytes = code_stream_bytes(count, bits);
        EXPECT_EQ(bytes, static_cast<std::uint64_t>(8 * bits));
        for (const int filler : {0, most})
            for (int i = 0; i < count; ++i)
                for (int code = 0; code <= most; ++code) {
                    std::vector<std::byte> row(bytes, filler == 0 ? std::byte{0} : std::byte{0xff});
                    store_code(row.data(), i, bits, code);
                    for (int j = 0; j < count; ++j) ASSERT_EQ(load_code(row.data(), j, bits), j == i ? code : filler) << bits;
                }
    }
}

// 32 codes (i mod 8) of 3 bits as GPTQ has them in three words; 4-bit codes as every layout in plain order has them.
TEST(CodeStream, IsThePlainOrderOfTheLayouts) {
    std::array<std::uint32_t, 3> words{};
    auto* bytes = reinterpret_cast<std::byte*>(words.data());
    for (int i = 0; i < 32; ++i) store_code(bytes, i, 3, i % 8);
    EXPECT_THAT(words, testing::ElementsAre(0x88FAC688u, 0xC688FAC6u, 0xFAC688FAu));
    for (int i = 0; i < 32; ++i) store_code(bytes, i, 3, (5 * i + 3) % 8);
    EXPECT_THAT(words, testing::ElementsAre(0x43C67543u, 0x7543C675u, 0xC67543C6u));
    for (int i = 0; i < 8; ++i) store_code(bytes, i, 4, i);
    EXPECT_EQ(words[0], 0x76543210u);
}

// Every code with every zero, in rows that end inside a group and inside a byte, with scales of every kind: exactly
// (code - zero) * scale, rounded once.
TEST(IntGroups, EveryCodeHasItsValue) {
    const std::array<float, 7> scales = {0.037f, -0.037f, 1.0f, 60000.0f, -3e-7f, 6e-8f, 0.0f};
    for (const int bits : kAllBits)
        for (const DType dtype : {DType::f16, DType::bf16, DType::f32})
            for (const std::int64_t in : {1, 2, 7, 33, 256}) {
                const int codes = 1 << bits;
                const std::int64_t out = 9;
                const std::array optional = {BufferRole::zeros};
                const OwnedWeight owned =
                    make_weight(int_format(bits), out, in, {.rows = 1, .columns = 32, .dtype = dtype}, optional);
                const std::int64_t groups = (in + 31) / 32;
                for (std::int64_t i = 0; i < out * groups; ++i) {
                    store_number(owned.bytes_of(BufferRole::scales), dtype, i,
                                 scales[static_cast<std::size_t>(i) % scales.size()]);
                    owned.bytes_of(BufferRole::zeros)[static_cast<std::size_t>(i)] = static_cast<std::byte>(i * 37 % 256);
                }
                const auto code_at = [&](std::int64_t row, std::int64_t column) {
                    return static_cast<int>((row * 5 + column) % codes);
                };
                for (std::int64_t row = 0; row < out; ++row)
                    for (std::int64_t column = 0; column < in; ++column)
                        store_code(codes_of_row(owned, row), column, bits, code_at(row, column));
                const std::vector<float> values = unpack_all(owned.weight);
                for (std::int64_t row = 0; row < out; ++row)
                    for (std::int64_t column = 0; column < in; ++column) {
                        const std::int64_t group = row * groups + column / 32;
                        const double scale = rounded_to(dtype, scales[static_cast<std::size_t>(group) % scales.size()]);
                        const auto zero = static_cast<double>(group * 37 % 256);
                        ASSERT_EQ(values[static_cast<std::size_t>(row * in + column)],
                                  static_cast<float>((code_at(row, column) - zero) * scale))
                            << bits << " bits, " << dtype_name(dtype) << " [" << row << ", " << column << "] of " << in;
                    }
            }
}

TEST(IntGroups, WithoutZerosCodesAreSymmetric) {
    for (const int bits : kAllBits) {
        const std::int64_t codes = 1 << bits;
        const OwnedWeight owned = make_weight(int_format(bits), 1, codes, {.rows = 1, .columns = kWhole, .dtype = DType::f32});
        store_number(owned.bytes_of(BufferRole::scales), DType::f32, 0, -0.25f);
        for (std::int64_t code = 0; code < codes; ++code)
            store_code(codes_of_row(owned, 0), code, bits, static_cast<int>(code));
        const std::vector<float> values = unpack_all(owned.weight);
        for (std::int64_t code = 0; code < codes; ++code)
            EXPECT_EQ(values[static_cast<std::size_t>(code)], -0.25f * static_cast<float>(code - codes / 2));
    }
}

// AutoAWQ's gemv_fast multiplies and adds with one rounding; -(scale * zero) is stored rounded to float16.
TEST(IntGroups, OffsetsAreAddedWithOneRounding) {
    const std::array with_offsets = {BufferRole::offsets}, with_zeros = {BufferRole::zeros};
    const Scaling scaling{.rows = 1, .columns = 32, .dtype = DType::f16};
    const std::vector<float> values = random_values(8 * 64, 11, 0.05f);
    const OwnedWeight offsets = make_weight(int_format(4), 8, 64, scaling, with_offsets);
    const OwnedWeight zeros = make_weight(int_format(4), 8, 64, scaling, with_zeros);
    const IntRounding rounding{.rule = IntRule::awq, .bits = 4, .symmetric = false};
    pack_int_groups(rounding, values.data(), offsets);
    pack_int_groups(rounding, values.data(), zeros);
    EXPECT_EQ(all_codes(offsets), all_codes(zeros));
    const std::vector<float> unpacked = unpack_all(offsets.weight);
    int differing = 0;
    for (std::size_t i = 0; i < unpacked.size(); ++i) {
        const auto group = static_cast<std::int64_t>(i / 32);
        const double scale = load_number(zeros.bytes_of(BufferRole::scales), DType::f16, group);
        const double zero = std::to_integer<int>(zeros.bytes_of(BufferRole::zeros)[i / 32]);
        const float offset = rounded_to(DType::f16, static_cast<float>(-scale * zero));
        EXPECT_EQ(unpacked[i], static_cast<float>(all_codes(zeros)[i] * scale + offset)) << i;
        differing += unpacked[i] != unpack_all(zeros.weight)[i];
    }
    EXPECT_GT(differing, 0);  // else this test could not tell offsets from zeros
}

// A group index is a permutation of the columns with their groups.
TEST(IntGroups, AGroupIndexMovesColumnsBetweenGroups) {
    const std::int64_t out = 5, in = 96;
    const Scaling scaling{.rows = 1, .columns = 32, .dtype = DType::f32};
    const std::vector<BufferRole> both = {BufferRole::zeros, BufferRole::group_index}, zeros = {BufferRole::zeros};
    const std::vector<float> values = random_values(static_cast<std::size_t>(out * in), 21);
    const OwnedWeight indexed = make_weight(int_format(3), out, in, scaling, both);
    const OwnedWeight plain = make_weight(int_format(3), out, in, scaling, zeros);
    // Column c of the plain weight is column 31 c mod 96 of the other.
    const auto moved = [&](std::int64_t column) { return column * 31 % in; };
    std::vector<float> permuted(values.size());
    for (std::int64_t row = 0; row < out; ++row)
        for (std::int64_t column = 0; column < in; ++column)
            permuted[static_cast<std::size_t>(row * in + moved(column))] = values[static_cast<std::size_t>(row * in + column)];
    for (std::int64_t column = 0; column < in; ++column) {
        const auto group = static_cast<std::int32_t>(column / 32);
        std::memcpy(&indexed.bytes_of(BufferRole::group_index)[static_cast<std::size_t>(4 * moved(column))], &group, 4);
    }
    const IntRounding rounding{.rule = IntRule::gptq, .bits = 3, .symmetric = false};
    pack_int_groups(rounding, permuted.data(), indexed);
    pack_int_groups(rounding, values.data(), plain);
    const std::vector<float> a = unpack_all(indexed.weight), b = unpack_all(plain.weight);
    for (std::int64_t row = 0; row < out; ++row)
        for (std::int64_t column = 0; column < in; ++column)
            EXPECT_EQ(a[static_cast<std::size_t>(row * in + moved(column))], b[static_cast<std::size_t>(row * in + column)]);
}

// Half a step at most, and a whole one where the range has one code less on one side. The scale that counts is the stored one.
TEST(IntGroups, SymmetricRulesStayWithinHalfAStep) {
    for (const IntRule rule : {IntRule::absmax, IntRule::full_range})
        for (const int bits : kAllBits)
            for (const float deviation : {1.0f, 1e-3f, 100.0f}) {
                const std::int64_t out = 20, in = 64;
                const std::vector<float> x = random_values(static_cast<std::size_t>(out * in), 31, deviation);
                const OwnedWeight owned =
                    make_weight(int_format(bits), out, in, {.rows = 1, .columns = 32, .dtype = DType::f16});
                pack_int_groups({.rule = rule, .bits = bits, .symmetric = true, .dtype = DType::f16}, x.data(), owned);
                const std::vector<float> y = unpack_all(owned.weight);
                const int middle = 1 << (bits - 1);
                for (std::size_t group = 0; group < x.size() / 32; ++group) {
                    const double scale =
                        load_number(owned.bytes_of(BufferRole::scales), DType::f16, static_cast<std::int64_t>(group));
                    for (std::size_t i = group * 32; i < group * 32 + 32; ++i) {
                        const double steps = x[i] / scale, error = std::fabs(double{y[i]} - double{x[i]});
                        const double cut = steps > middle - 1 ? steps - (middle - 1) : steps < -middle ? -middle - steps : 0.5;
                        // One rounding of value / scale and one of code * scale.
                        ASSERT_LE(error, std::fabs(scale) * std::max(cut, 0.5) + std::fabs(double{x[i]}) * 0x1p-22)
                            << bits << " bits " << i;
                        EXPECT_LE(cut, rule == IntRule::full_range ? 1.0 + middle * 0x1p-11 : 0.5 + middle * 0x1p-11);
                    }
                }
                const std::vector<std::uint8_t> codes = all_codes(owned);
                const int lowest = *std::ranges::min_element(codes);
                EXPECT_EQ(lowest, rule == IntRule::full_range ? 0 : 1) << bits;
            }
}

TEST(IntGroups, FullRangeKeepsTheExtremeWithItsSign) {
    for (const float sign : {1.0f, -1.0f}) {
        std::vector<float> x(32, 0.0f);
        x[5] = sign * 4.0f;
        x[9] = sign * -3.5f;
        x[10] = sign * 0.5f;
        EXPECT_EQ(unpack_all(pack_weight(int_format(4), 1, 32, x).weight), x);
    }
}

TEST(IntGroups, AnyInputIsTaken) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const IntRule rule : {IntRule::gptq, IntRule::awq, IntRule::compressed_tensors, IntRule::absmax, IntRule::full_range})
        for (const bool symmetric : {true, false}) {
            if (!symmetric && (rule == IntRule::absmax || rule == IntRule::full_range)) continue;
            for (const float special : {nan, -nan, infinity, -infinity, 3e38f, -3e38f, 1e-45f, -1e-45f, 0.0f, -0.0f})
                for (const bool alone : {true, false}) {
                    std::vector<float> x = alone ? std::vector<float>(70, special) : random_values(70, 41);
                    x[0] = x[69] = special;
                    const std::array zeros = {BufferRole::zeros};
                    const OwnedWeight owned =
                        make_weight(int_format(4), 1, 70, {.rows = 1, .columns = 32, .dtype = DType::f16}, zeros);
                    pack_int_groups({.rule = rule, .bits = 4, .symmetric = symmetric, .dtype = DType::f16}, x.data(), owned);
                    EXPECT_EQ(unpack_all(owned.weight).size(), 70u);
                    if (special == 0.0f && alone) {
                        for (const float value : unpack_all(owned.weight)) EXPECT_EQ(value, 0.0f);
                    }
                }
        }
}

// Blocks of several rows, the last ones cut off: compressed-tensors' "tensor" and "block" strategies.
TEST(IntGroups, BlocksMayHaveSeveralRows) {
    const std::int64_t out = 7, in = 50;
    const std::vector<float> x = random_values(static_cast<std::size_t>(out * in), 51);
    const OwnedWeight blocks = make_weight(int_format(8), out, in, {.rows = 3, .columns = 32, .dtype = DType::f32});
    EXPECT_EQ(blocks.bytes_of(BufferRole::scales).size(), 3u * 2u * 4u);
    const IntRounding rounding{.rule = IntRule::absmax, .bits = 8, .symmetric = true, .dtype = DType::f32};
    pack_int_groups(rounding, x.data(), blocks);
    const std::vector<float> y = unpack_all(blocks.weight);
    for (std::int64_t row = 0; row < out; ++row)
        for (std::int64_t column = 0; column < in; ++column) {
            float largest = 0.0f;
            for (std::int64_t r = row / 3 * 3; r < std::min(out, row / 3 * 3 + 3); ++r)
                for (std::int64_t c = column / 32 * 32; c < std::min(in, column / 32 * 32 + 32); ++c)
                    largest = std::max(largest, std::fabs(x[static_cast<std::size_t>(r * in + c)]));
            const float scale = largest / 127.0f, value = x[static_cast<std::size_t>(row * in + column)];
            EXPECT_EQ(y[static_cast<std::size_t>(row * in + column)], std::nearbyint(value / scale) * scale);
        }
}

TEST(IntGroups, BitsPerWeightCountEveryBuffer) {
    const std::array zeros = {BufferRole::zeros};
    const auto bits = [&](int code_bits, Scaling scaling, std::span<const BufferRole> optional) {
        return make_weight(int_format(code_bits), 16, 256, scaling, optional).weight.bits_per_weight();
    };
    EXPECT_EQ(bits(4, {.rows = 1, .columns = 128, .dtype = DType::f16}, {}), 4.0 + 16.0 / 128);
    EXPECT_EQ(bits(4, {.rows = 1, .columns = 128, .dtype = DType::bf16}, zeros), 4.0 + 24.0 / 128);
    EXPECT_EQ(bits(3, {.rows = 1, .columns = 64, .dtype = DType::f32}, {}), 3.0 + 32.0 / 64);
    EXPECT_EQ(bits(8, {.rows = 1, .columns = kWhole, .dtype = DType::f16}, {}), 8.0 + 16.0 / 256);
}

TEST(IntGroups, ValidateNamesWhatIsWrong) {
    const std::array all = {BufferRole::zeros, BufferRole::group_index};
    const Scaling scaling{.rows = 1, .columns = 32, .dtype = DType::f16};
    const OwnedWeight owned = make_weight(int_format(3), 4, 70, scaling, all, "model.layers.0.q");
    EXPECT_NO_THROW(validate(owned.weight));
    const auto expect_error = [&](auto change, const std::string& message) {
        PackedWeight weight = owned.weight;
        change(weight);
        EXPECT_THAT([&] { validate(weight); },
                    ThrowsMessage<BadFileError>(AllOf(HasSubstr("model.layers.0.q"), HasSubstr(message))));
    };
    const auto cut = [](PackedWeight& weight, BufferRole role) {
        for (PackedBuffer& buffer : weight.buffers)
            if (buffer.role == role) buffer.bytes = buffer.bytes.first(buffer.bytes.size() - 1);
    };
    expect_error([&](auto& w) { cut(w, BufferRole::codes); },
                 "107 bytes of codes, shape [4, 70] in format int3 with a scale for [1, 32] elements needs 108");
    expect_error([&](auto& w) { cut(w, BufferRole::scales); }, "23 bytes of scales");
    expect_error([&](auto& w) { cut(w, BufferRole::zeros); }, "11 bytes of zeros");
    expect_error([&](auto& w) { cut(w, BufferRole::group_index); }, "279 bytes of group index");
    expect_error([](auto& w) { w.scaling.columns = 64; },
                 "24 bytes of scales, shape [4, 70] in format int3 with a scale for [1, 64] elements needs 16");
    expect_error([](auto& w) { w.scaling.columns = 0; }, "need at least one");
    expect_error([](auto& w) { w.scaling.rows = -1; }, "need at least one");
    expect_error([](auto& w) { w.scaling.dtype = DType::f8_e4m3; }, "scales of type F8_E4M3, format int3 needs F32, F16, BF16");
    expect_error([](auto& w) { w.scaling.nested = 256; }, "quantized scales");
    expect_error([](auto& w) { w.in = 80; }, "needs 120");
    expect_error([](auto& w) { std::erase_if(w.buffers, [](auto& b) { return b.role == BufferRole::scales; }); },
                 "0 buffers of scales");
    expect_error([](auto& w) { w.buffers.push_back(w.buffers[1]); }, "2 buffers of scales");
    expect_error(
        [](auto& w) {
            w.buffers.push_back({w.codes(), BufferRole::code_book});
        },
        "a buffer of code book, format int3");
    expect_error(
        [](auto& w) {
            w.buffers.push_back({w.bytes_of(BufferRole::scales), BufferRole::offsets});
        },
        "zeros and offsets");
    expect_error([](auto& w) { w.out = std::int64_t{1} << 62; }, "overflows");
    expect_error(
        [](auto& w) {
            w.out = 1;
            w.in = std::numeric_limits<std::int64_t>::max();
        },
        "overflows");
    for (const std::int32_t group : {-1, 3, std::numeric_limits<std::int32_t>::max()}) {
        std::memcpy(&owned.bytes_of(BufferRole::group_index)[4 * 69], &group, 4);
        expect_error([](auto&) {}, fmt::format("group index of column 69 is {}, need 0 to 2", group));
    }
    EXPECT_THROW(make_weight(int_format(4), 0, 4, scaling), BadFileError);
    EXPECT_THROW(make_weight(int_format(4), 4, 4, {}), BadFileError);
    EXPECT_THROW(make_weight(int_format(4), std::int64_t{1} << 40, std::int64_t{1} << 40, scaling), BadFileError);
    EXPECT_THROW(make_weight(int_format(4), 4, 4, scaling, std::array{BufferRole::code_book}), InternalError);
    EXPECT_THROW(make_weight(*find_format("q4_0"), 4, 32, scaling), InternalError);
}

}  // namespace
}  // namespace narae::test
