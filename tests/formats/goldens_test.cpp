// Bit for bit with llama.cpp's own Python library (tools/oracle/gguf_blocks.py makes the files), and vectors computed from
// the formats' descriptions by hand.
#include "base/error.h"
#include "base/json.h"
#include "formats/format.h"
#include "formats/ggml_blocks.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace narae::test {
namespace {

std::string golden(const std::string& name) { return read_text_file(data_file("goldens/blocks/" + name)); }

const Format& format_of(const Json& type) {
    const Format* format = find_gguf_format(type.at("id").get<std::uint32_t>());
    std::string name = type.at("type");
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    NARAE_CHECK(format && format->name == name, "format {}", name);
    return *format;
}

std::vector<std::uint32_t> bits_of(std::string_view bytes) {
    std::vector<std::uint32_t> bits(bytes.size() / 4);
    std::memcpy(bits.data(), bytes.data(), bits.size() * 4);
    return bits;
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
    return bits_of(std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * 4));
}

TEST(Goldens, UnpackingGivesTheOriginalsValues) {
    const Json types = parse_json(golden("blocks.json"), "blocks.json").at("types");
    ASSERT_EQ(types.size(), 10u);
    for (const Json& type : types) {
        const Format& format = format_of(type);
        EXPECT_EQ(type.at("block_elements"), format.block);
        EXPECT_EQ(type.at("block_bytes"), format.block_bytes);
        const std::string name = type.at("type");
        const std::string packed = golden(name + ".packed.bin");
        const std::int64_t blocks = type.at("blocks");
        const PackedWeight weight{
            &format, blocks, format.block, {std::as_bytes(std::span(packed.data(), packed.size()))}, name};
        EXPECT_EQ(bits_of(unpack_all(weight)), bits_of(golden(name + ".values.bin"))) << name;
    }
}

TEST(Goldens, PackingWritesTheOriginalsBytes) {
    int checked = 0;
    const Json types = parse_json(golden("blocks.json"), "blocks.json").at("types");
    for (const Json& type : types) {
        if (!type.contains("pack_rows")) continue;
        const Format& format = format_of(type);
        const std::string name = type.at("type");
        const std::string input = golden(name + ".pack_input.bin"), output = golden(name + ".pack_output.bin");
        std::vector<float> values(input.size() / 4);
        std::memcpy(values.data(), input.data(), input.size());
        std::string packed(output.size(), '\0');
        ASSERT_EQ(static_cast<std::int64_t>(output.size()), format.row_bytes(static_cast<std::int64_t>(values.size())));
        format.pack(values.data(), static_cast<std::int64_t>(values.size()), reinterpret_cast<std::byte*>(packed.data()));
        for (std::size_t i = 0; i < output.size(); ++i)
            ASSERT_EQ(packed[i], output[i]) << name << " block " << i / static_cast<std::size_t>(format.block_bytes) << " byte "
                                            << i % static_cast<std::size_t>(format.block_bytes);
        ++checked;
    }
    EXPECT_EQ(checked, 3);
}

std::string to_hex(const std::vector<std::byte>& bytes) {
    std::string text;
    for (const std::byte b : bytes) text += fmt::format("{:02x}", static_cast<int>(b));
    return text;
}

// x_j = (j - 13) / 4, j = 0..31.
TEST(Vectors, PackedRamp) {
    std::vector<float> x(32);
    for (int j = 0; j < 32; ++j) x[static_cast<std::size_t>(j)] = static_cast<float>(j - 13) / 4;
    const auto packed = [&](const char* name) {
        const Format& format = *find_format(name);
        std::vector<std::byte> bytes(static_cast<std::size_t>(format.block_bytes));
        format.pack(x.data(), 32, bytes.data());
        return to_hex(bytes);
    };
    EXPECT_EQ(packed("q4_0"), "80b87e6d6d5c5c4c4b4b3a3a292918180807");
    EXPECT_EQ(packed("q4_1"), "223880c280809191a2a2b3b3c4c4d5d5e6e6f7f7");
    EXPECT_EQ(packed("q5_0"), "80b4ff3f0000dccbcab9a89786756454434231201f0e");
    EXPECT_EQ(packed("q5_1"), "003480c20000ffff00112233445566778899aabbccddeeff");
    EXPECT_EQ(packed("q8_0"), "8928a4abb2b9c0c8cfd6dde4ebf2f900070e151c232a313840474e555c636a71787f");
}

TEST(Vectors, ScalesOfSuperBlocks) {
    const std::array<std::uint8_t, 12> pairs{0x41, 0x82, 0xc3, 0xc4, 0xc5, 0x86, 0x47, 0x08, 0xc5, 0x96, 0x67, 0x3f};
    const std::array<int, 8> scales{1, 2, 3, 4, 21, 38, 55, 63}, minimums{5, 6, 7, 8, 60, 41, 22, 3};
    for (int j = 0; j < 8; ++j) {
        EXPECT_EQ(scale_pair(pairs.data(), j).scale, scales[static_cast<std::size_t>(j)]) << j;
        EXPECT_EQ(scale_pair(pairs.data(), j).minimum, minimums[static_cast<std::size_t>(j)]) << j;
    }
    const std::array<std::uint8_t, 12> q3{0x11, 0x55, 0x99, 0xdd, 0x11, 0x55, 0x99, 0xdd, 0xe4, 0xe4, 0xe4, 0xe4};
    for (int j = 0; j < 16; ++j) EXPECT_EQ(q3_k_scale(q3.data(), j), 4 * j + 1 - 32) << j;
}

}  // namespace
}  // namespace narae::test
