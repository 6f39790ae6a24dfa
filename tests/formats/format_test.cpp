#include "formats/format.h"

#include "base/error.h"
#include "support/random_weights.h"
#include "tensor/scalar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace narae::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Format, TheRegistryIsSortedAndComplete) {
    std::vector<std::string> names;
    for (const Format* format : all_formats()) names.emplace_back(format->name);
    EXPECT_TRUE(std::ranges::is_sorted(names));
    for (const char* name :
         {"bf16",  "f16", "f32",   "fp4",  "fp8_e4m3", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "llm_int8",
          "mxfp4", "nf4", "nvfp4", "q2_k", "q3_k",     "q4_0", "q4_1", "q4_k", "q5_0", "q5_1", "q5_k", "q6_k", "q8_0"})
        EXPECT_THAT(names, testing::Contains(name));
}

TEST(Format, IsFoundByNameTypeAndNumber) {
    struct Row {
        const char* name;
        std::uint32_t gguf_type;
        std::int64_t block, block_bytes;
    };
    for (const Row& row :
         {Row{"f32", 0, 1, 4}, Row{"f16", 1, 1, 2}, Row{"bf16", 30, 1, 2}, Row{"q4_0", 2, 32, 18}, Row{"q4_1", 3, 32, 20},
          Row{"q5_0", 6, 32, 22}, Row{"q5_1", 7, 32, 24}, Row{"q8_0", 8, 32, 34}, Row{"q2_k", 10, 256, 84},
          Row{"q3_k", 11, 256, 110}, Row{"q4_k", 12, 256, 144}, Row{"q5_k", 13, 256, 176}, Row{"q6_k", 14, 256, 210}}) {
        const Format* format = find_format(row.name);
        ASSERT_NE(format, nullptr) << row.name;
        EXPECT_EQ(find_gguf_format(row.gguf_type), format);
        EXPECT_EQ(format->block, row.block);
        EXPECT_EQ(format->block_bytes, row.block_bytes);
        EXPECT_EQ(format->row_bytes(512), 512 / row.block * row.block_bytes);
        EXPECT_NE(format->unpack, nullptr);
    }
    EXPECT_EQ(find_format(DType::bf16), find_format("bf16"));
    EXPECT_EQ(find_format(DType::f16), find_format("f16"));
    EXPECT_EQ(find_format(DType::f32), find_format("f32"));
    EXPECT_EQ(find_format(DType::i64), nullptr);
    EXPECT_EQ(find_format("Q4_0"), nullptr);
    EXPECT_EQ(find_gguf_format(4), nullptr);
    EXPECT_THROW(RegisterFormat(*find_format("q4_0")), InternalError);
}

TEST(Format, ValidateNamesWhatIsWrong) {
    OwnedWeight owned = random_weight(*find_format("q4_0"), 3, 64, 1);
    owned.weight.name = "blk.0.ffn_up.weight";
    EXPECT_NO_THROW(validate(owned.weight));
    EXPECT_EQ(owned.weight.bytes(), 108u);
    const auto expect_error = [&](auto change, const std::string& message) {
        PackedWeight weight = owned.weight;
        change(weight);
        EXPECT_THAT([&] { validate(weight); },
                    ThrowsMessage<BadFileError>(testing::AllOf(HasSubstr("blk.0.ffn_up.weight"), HasSubstr(message))));
        EXPECT_THROW(unpack_all(weight), BadFileError);
    };
    expect_error([](PackedWeight& w) { w.in = 48; }, "rows of 48 elements, format q4_0 needs a multiple of 32");
    expect_error([](PackedWeight& w) { w.out = 4; }, "108 bytes of codes, shape [4, 64] in format q4_0 needs 144");
    expect_error([](PackedWeight& w) { w.out = 0; }, "need positive dimensions");
    expect_error([](PackedWeight& w) { w.in = -32; }, "need positive dimensions");
    expect_error([](PackedWeight& w) { w.buffers.clear(); }, "0 buffers of codes, format q4_0 needs 1");
    expect_error([](PackedWeight& w) { w.buffers.push_back(w.buffers[0]); }, "2 buffers of codes");
    expect_error([](PackedWeight& w) { w.buffers[0] = w.codes().first(107); }, "107 bytes of codes");
    expect_error(
        [](PackedWeight& w) {
            w.out = std::int64_t{1} << 62;
            w.in = std::int64_t{1} << 40;
        },
        "overflows");
}

// Rows asked for one by one, and codes at odd addresses, give the same values as the whole.
TEST(Format, UnpacksPartsAndUnalignedCodes) {
    for (const Format* format : all_formats()) {
        const std::int64_t out = 5, in = 2 * std::max<std::int64_t>(format->block, 3);
        const OwnedWeight aligned = random_weight(*format, out, in, 7);
        const OwnedWeight odd = random_weight(*format, out, in, 7, 1);
        const std::vector<float> all = unpack_all(aligned.weight);
        EXPECT_EQ(all, unpack_all(odd.weight)) << format->name;
        std::vector<float> rows(static_cast<std::size_t>(2 * in));
        format->unpack(odd.weight, 2, 4, rows.data());
        EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin() + 2 * in)) << format->name;
        format->unpack(odd.weight, 5, 5, nullptr);
        EXPECT_THROW(format->unpack(odd.weight, 4, 6, rows.data()), InternalError);
        EXPECT_TRUE(std::ranges::all_of(all, [](float v) { return std::isfinite(v); })) << format->name;
        EXPECT_TRUE(std::ranges::any_of(all, [](float v) { return std::fabs(v) > 0.01f; })) << format->name;
    }
}

TEST(Format, DenseValuesAreExact) {
    const std::vector<float> values{0.0f,    -0.0f, 1.0f, -2.5f, 65504.0f, 0x1p-24f, std::numeric_limits<float>::infinity(),
                                    1.0f / 3};
    const auto repacked = [&](const char* name) { return unpack_all(pack_weight(*find_format(name), 2, 4, values).weight); };
    EXPECT_EQ(repacked("f32"), values);
    const std::vector<float> halves = repacked("f16"), brains = repacked("bf16");
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(halves[i], to_float(to_half(values[i])));
        EXPECT_EQ(brains[i], to_float(to_bfloat16(values[i])));
    }
    EXPECT_TRUE(std::signbit(halves[1]));
}

// Whatever shape and scaling a file may claim: it is refused, or every byte that unpacking reads is there (each buffer lies in
// memory of exactly its size, so that a sanitizer sees the first byte beyond).
TEST(Format, WhatIsNotRefusedCanBeUnpacked) {
    std::mt19937_64 random(5);
    const auto any = [&](auto... values) {
        const std::array<std::int64_t, sizeof...(values)> list{static_cast<std::int64_t>(values)...};
        return list[random() % list.size()];
    };
    for (const Format* format : all_formats()) {
        if (!format->buffers) continue;
        int refused = 0, unpacked = 0;
        for (int i = 0; i < 4000; ++i) {
            PackedWeight weight;
            weight.format = format;
            weight.name = "claimed";
            weight.out = any(1, 2, 3, 17, 0, -1);
            weight.in = any(1, 2, 15, 16, 31, 32, 33, 64, 129, std::numeric_limits<std::int64_t>::max());
            weight.scaling = format->scaling;
            if (random() % 2) weight.scaling.rows = any(1, 2, 5, kWhole, 0);
            if (random() % 2) weight.scaling.columns = any(1, 7, 16, 32, 64, kWhole, -1);
            if (random() % 4 == 0)
                weight.scaling.dtype = static_cast<DType>(any(DType::f32, DType::f16, DType::bf16, DType::f8_e8m0, DType::u8));
            if (random() % 4 == 0) {
                weight.scaling.nested = any(1, 3, 256, -1);
                weight.scaling.dtype = DType::u8;
            }
            std::vector<std::vector<std::byte>> memory;
            try {
                if (random() % 2) weight.buffers.push_back({{}, static_cast<BufferRole>(random() % kBufferRoles)});
                const std::vector<BufferSize> sizes = format->buffers(weight);
                weight.buffers.clear();
                for (const BufferSize& size : sizes) {
                    if (size.bytes > 1 << 20) throw BadFileError("too large for this test");
                    std::vector<std::byte>& bytes = memory.emplace_back(size.bytes);
                    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
                    if (size.role == BufferRole::group_index) {
                        const auto most = static_cast<std::uint64_t>((weight.in - 1) / weight.scaling.columns + 1);
                        for (std::size_t column = 0; column < bytes.size() / 4; ++column) {
                            const auto group = static_cast<std::int32_t>(random() % most);
                            std::memcpy(&bytes[4 * column], &group, 4);
                        }
                    }
                    weight.buffers.push_back({bytes, size.role});
                }
                validate(weight);
            } catch (const BadFileError&) {
                ++refused;
                continue;
            }
            EXPECT_EQ(unpack_all(weight).size(), static_cast<std::size_t>(weight.out * weight.in));
            std::vector<float> row(static_cast<std::size_t>(weight.in));
            format->unpack(weight, weight.out - 1, weight.out, row.data());
            ++unpacked;
        }
        EXPECT_GT(refused, 400) << format->name;
        EXPECT_GT(unpacked, 400) << format->name;
    }
}

TEST(Format, AnOwnedWeightMayMove) {
    OwnedWeight owned = random_weight(*find_format("int4"), 3, 70, 3);
    const std::vector<float> values = unpack_all(owned.weight);
    const OwnedWeight moved = std::move(owned);
    EXPECT_EQ(unpack_all(moved.weight), values);
    EXPECT_EQ(moved.bytes_of(BufferRole::scales).data(), moved.weight.bytes_of(BufferRole::scales).data());
    EXPECT_TRUE(moved.bytes_of(BufferRole::code_book).empty());
}

TEST(Format, RolesHaveNames) {
    EXPECT_EQ(role_name(BufferRole::codes), "codes");
    EXPECT_EQ(role_name(BufferRole::nested_code_book), "nested code book");
    EXPECT_EQ(role_name(static_cast<BufferRole>(kBufferRoles - 1)), "global scale");
}

}  // namespace
}  // namespace narae::test
