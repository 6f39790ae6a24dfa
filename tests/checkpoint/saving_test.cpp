// What the writers write, the readers read: names, shapes, formats, metadata, every byte.
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/model_files.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace narae {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string random_bytes(std::uint64_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
}

// A weight whose contents are random bytes that `expected` keeps.
WeightToSave random_weight(std::string name, Shape shape, std::string_view format,
                           std::map<std::string, std::string>& expected) {
    WeightToSave weight;
    weight.name = name;
    weight.shape = shape;
    weight.format = find_format(format);
    const std::string contents = random_bytes(weight.bytes(), static_cast<std::uint32_t>(expected.size()));
    expected[name] = contents;
    weight.produce = [contents](std::span<std::byte> into) {
        ASSERT_EQ(into.size(), contents.size());
        std::memcpy(into.data(), contents.data(), contents.size());
    };
    return weight;
}

void expect_contents(const Checkpoint& checkpoint, const CheckpointToSave& saved,
                     const std::map<std::string, std::string>& expected) {
    ASSERT_EQ(checkpoint.weights.size(), expected.size());
    for (const WeightToSave& weight : saved.weights) {
        const StoredWeight* stored = checkpoint.find(weight.name);
        ASSERT_NE(stored, nullptr) << weight.name;
        EXPECT_EQ(stored->packed.format, weight.format) << weight.name;
        EXPECT_EQ(stored->shape, weight.shape) << weight.name;
        const auto codes = stored->packed.codes();
        EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(codes.data()), codes.size()), expected.at(weight.name))
            << weight.name;
    }
}

std::size_t files_in(const Path& folder) {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

TEST(SaveGguf, EveryFormatComesBack) {
    CheckpointToSave contents;
    std::map<std::string, std::string> expected;
    contents.metadata = {{"general.architecture", std::string("llama")},
                         {"bool", true},
                         {"u32", std::uint32_t{4000000000}},
                         {"i32", std::int32_t{-5}},
                         {"u64", std::uint64_t{1} << 40},
                         {"f32", 0.25F},
                         {"strings", std::vector<std::string>{"a", "", "가나"}},
                         {"ints", std::vector<std::int32_t>{1, -2}},
                         {"floats", std::vector<float>{0.5F}},
                         {"none", std::vector<std::string>{}}};
    for (const Format* format : all_formats()) {
        if (!format->gguf_type) continue;
        for (const std::int64_t rows : {1, 3})
            contents.weights.push_back(
                random_weight(fmt::format("{}.{}", format->name, rows), {rows, 256}, format->name, expected));
    }
    contents.weights.push_back(random_weight("vector", {7}, "f32", expected));
    contents.weights.push_back(random_weight("experts", {2, 3, 32}, "q4_0", expected));
    contents.weights.push_back(random_weight("scalar", Shape(), "f16", expected));

    const test::ScratchFolder scratch;
    const Path path = scratch.path() / "model.gguf";
    find_layout("gguf")->save(contents, path);
    const Checkpoint checkpoint = open_checkpoint(path);
    EXPECT_EQ(checkpoint.layout, "gguf");
    expect_contents(checkpoint, contents, expected);
    EXPECT_EQ(checkpoint.metadata.entries().size(), contents.metadata.size());
    EXPECT_EQ(checkpoint.metadata.get_string("general.architecture"), "llama");
    EXPECT_EQ(checkpoint.metadata.get_bool("bool"), true);
    EXPECT_EQ(checkpoint.metadata.get_int("u32"), 4000000000);
    EXPECT_EQ(checkpoint.metadata.get_int("i32"), -5);
    EXPECT_EQ(checkpoint.metadata.get_int("u64"), std::int64_t{1} << 40);
    EXPECT_EQ(checkpoint.metadata.get_double("f32"), 0.25);
    EXPECT_THAT(checkpoint.metadata.get_strings("strings").value(), ElementsAre("a", "", "가나"));
    EXPECT_THAT(checkpoint.metadata.get_ints("ints").value(), ElementsAre(1, -2));
    EXPECT_THAT(checkpoint.metadata.get_floats("floats").value(), ElementsAre(0.5F));
    EXPECT_TRUE(checkpoint.metadata.get_strings("none").value().empty());
    for (const StoredWeight& weight : checkpoint.weights)
        EXPECT_EQ((weight.packed.codes().data() - checkpoint.files[0]->bytes().data()) % 32, 0) << weight.name();
    EXPECT_EQ(files_in(scratch.path()), 1U);
}

CheckpointToSave folder_contents(std::map<std::string, std::string>& expected) {
    CheckpointToSave contents;
    contents.config = {{"model_type", "llama"}, {"name", "나래"}};
    contents.generation_config = {{"eos_token_id", 2}};
    contents.text_files = {{"tokenizer.json", "{\"model\":{}}"}, {"chat_template.jinja", "{{ x }}\r\n"}};
    for (int layer = 0; layer < 4; ++layer) {
        contents.weights.push_back(random_weight(fmt::format("model.layers.{}.norm", layer), {5}, "bf16", expected));
        contents.weights.push_back(random_weight(fmt::format("model.layers.{}.w", layer), {3, 7}, "f32", expected));
        contents.weights.push_back(random_weight(fmt::format("model.layers.{}.h", layer), {3, 7}, "f16", expected));
    }
    return contents;
}

TEST(SaveSafetensors, OneFile) {
    std::map<std::string, std::string> expected;
    const CheckpointToSave contents = folder_contents(expected);
    const test::ScratchFolder scratch;
    const Path folder = scratch.path() / "model";
    find_layout("safetensors")->save(contents, folder);
    const Checkpoint checkpoint = open_checkpoint(folder);
    expect_contents(checkpoint, contents, expected);
    EXPECT_EQ(checkpoint.config, contents.config);
    EXPECT_EQ(checkpoint.generation_config, contents.generation_config);
    EXPECT_EQ(read_text_file(folder / "tokenizer.json"), "{\"model\":{}}");
    EXPECT_EQ(read_text_file(folder / "chat_template.jinja"), "{{ x }}\r\n");
    EXPECT_EQ(files_in(folder), 5U);
    EXPECT_EQ(files_in(scratch.path()), 1U);
    for (const StoredWeight& weight : checkpoint.weights) {
        const auto width = dtype_bits(*weight.packed.format->dtype) / 8;
        EXPECT_EQ((weight.packed.codes().data() - checkpoint.files[0]->bytes().data()) % width, 0) << weight.name();
    }
    EXPECT_THAT(std::string(checkpoint.files[0]->text().substr(8, 40)), HasSubstr(R"("__metadata__":{"format":"pt"})"));
}

TEST(SaveSafetensors, ShardsOfAnySizeComeBack) {
    for (const std::uint64_t shard_bytes : {1, 100, 150, 200, 1000}) {
        std::map<std::string, std::string> expected;
        CheckpointToSave contents = folder_contents(expected);
        contents.shard_bytes = shard_bytes;
        const test::ScratchFolder scratch;
        const Path folder = scratch.path() / "model";
        find_layout("safetensors")->save(contents, folder);
        const Checkpoint checkpoint = open_checkpoint(folder);
        expect_contents(checkpoint, contents, expected);
        std::uint64_t total = 0;
        for (const auto& [name, bytes] : expected) total += bytes.size();
        if (shard_bytes == 1000) {
            EXPECT_EQ(checkpoint.files.size(), 1U);
            continue;
        }
        const Json index = parse_json(read_text_file(folder / "model.safetensors.index.json"), "index");
        EXPECT_EQ(index["metadata"]["total_size"], total);
        EXPECT_EQ(index["weight_map"].size(), contents.weights.size());
        for (const StoredWeight& weight : checkpoint.weights)
            EXPECT_EQ(index["weight_map"][weight.name()], weight.packed.file->path().filename().string());
        for (const auto& file : checkpoint.files) {
            std::uint64_t bytes = 0;
            std::size_t count = 0;
            for (const StoredWeight& weight : checkpoint.weights)
                if (weight.packed.file == file.get()) bytes += weight.packed.bytes(), ++count;
            EXPECT_TRUE(bytes <= shard_bytes || count == 1) << shard_bytes;
        }
    }
}

TEST(Save, ImpossibleContentsAreRefusedBeforeWork) {
    std::map<std::string, std::string> expected;
    const test::ScratchFolder scratch;
    const auto expect_usage = [&](std::string_view layout, WeightToSave weight, std::string_view text) {
        weight.produce = [](std::span<std::byte>) { FAIL() << "was asked for bytes"; };
        CheckpointToSave contents;
        contents.weights.push_back(std::move(weight));
        try {
            find_layout(layout)->save(contents, scratch.path() / "out");
            ADD_FAILURE() << text << " was accepted";
        } catch (const UsageError& error) {
            EXPECT_THAT(error.what(), HasSubstr(text));
        }
        EXPECT_EQ(files_in(scratch.path()), 0U);
    };
    expect_usage("safetensors", random_weight("w", {1, 32}, "q4_0", expected), "q4_0");
    expect_usage("gguf", random_weight(std::string(64, 'n'), {1, 32}, "f32", expected), "64 bytes");
    expect_usage("gguf", random_weight("w", {1, 1, 1, 1, 2}, "f32", expected), "5 dimensions");
    expect_usage("gguf", random_weight("w", {0, 2}, "f32", expected), "empty");
    expect_usage("gguf", random_weight("w", {1, 33}, "q4_0", expected), "multiple of 32");
}

TEST(Save, ATargetThatExists) {
    std::map<std::string, std::string> expected;
    const CheckpointToSave contents = folder_contents(expected);
    const test::ScratchFolder scratch;
    EXPECT_THROW(find_layout("safetensors")->save(contents, scratch.path()), UsageError);
    EXPECT_THROW(find_layout("gguf")->save(contents, scratch.path()), UsageError);
    const Path file = scratch.write("model.gguf", "old");
    CheckpointToSave small;
    find_layout("gguf")->save(small, file);  // a file is replaced
    EXPECT_TRUE(open_checkpoint(file).weights.empty());
}

TEST(Save, AFailureOfTheProducerLeavesNothing) {
    const test::ScratchFolder scratch;
    for (const std::string_view layout : {"gguf", "safetensors"}) {
        std::map<std::string, std::string> expected;
        CheckpointToSave contents = folder_contents(expected);
        contents.weights.back().produce = [](std::span<std::byte>) { throw BadFileError("source damaged"); };
        EXPECT_THROW(find_layout(layout)->save(contents, scratch.path() / "out"), BadFileError);
        EXPECT_EQ(files_in(scratch.path()), 0U) << layout;
    }
}

TEST(Layouts, AreRegisteredByName) {
    std::vector<std::string_view> names;
    for (const Layout* layout : all_layouts()) names.push_back(layout->name);
    EXPECT_TRUE(std::ranges::is_sorted(names));
    EXPECT_EQ(find_layout("gguf")->name, "gguf");
    EXPECT_EQ(find_layout("none"), nullptr);
}

}  // namespace
}  // namespace narae
