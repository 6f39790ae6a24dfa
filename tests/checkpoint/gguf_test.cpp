#include "checkpoint/gguf.h"

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <limits>

namespace narae {
namespace {

using test::Bytes;
using test::GgufFileText;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(Gguf, ReadsTensorsInHuggingFaceOrder) {
    const std::string text = test::good_gguf();
    const GgufFile file = parse_gguf(bytes_of(text), "model.gguf");
    EXPECT_EQ(file.version, 3U);
    ASSERT_EQ(file.tensors.size(), 3U);
    EXPECT_EQ(file.tensors[0].name, "token_embd.weight");
    EXPECT_EQ(file.tensors[0].shape, Shape({4, 32}));
    EXPECT_EQ(file.tensors[0].format->name, "q4_0");
    EXPECT_EQ(file.tensors[0].bytes.size(), 72U);
    EXPECT_EQ(file.tensors[2].shape, Shape({2, 2, 32}));
    EXPECT_EQ(file.tensors[2].bytes.data() + 256, bytes_of(text).data() + text.size());
}

TEST(Gguf, Version2IsReadLikeVersion3) {
    GgufFileText file;
    file.version = 2;
    const std::string text = file.text("general.architecture", "llama").tensor("a", {8}, 0, 0).data(32).build();
    EXPECT_EQ(parse_gguf(bytes_of(text), "x").version, 2U);
}

TEST(Gguf, AFileWithoutTensorsIsAVocabulary) {
    const std::string text = GgufFileText().text("general.architecture", "llama").build();
    EXPECT_TRUE(parse_gguf(bytes_of(text), "x").tensors.empty());
}

TEST(Gguf, AlignmentMovesTheData) {
    GgufFileText file;
    file.alignment = 4096;
    file.entry<std::uint32_t>("general.alignment", GgufFileText::u32, 4096).tensor("a", {8}, 0, 4096).data(4096 + 32);
    const std::string text = file.build();
    const GgufFile parsed = parse_gguf(bytes_of(text), "x");
    EXPECT_EQ(parsed.alignment, 4096U);
    EXPECT_EQ(parsed.tensors[0].bytes.data() - bytes_of(text).data(), 8192);
}

TEST(Gguf, IntegersAndDoublesAreNoWeights) {
    const std::string text = GgufFileText().tensor("i", {3}, 26, 0).tensor("d", {2}, 28, 32).data(48).build();
    const GgufFile parsed = parse_gguf(bytes_of(text), "x");
    EXPECT_EQ(parsed.tensors[0].format, nullptr);
    EXPECT_EQ(parsed.tensors[0].dtype, DType::i32);
    EXPECT_EQ(parsed.tensors[0].bytes.size(), 12U);
}

TEST(Gguf, MetadataAloneIsReadFromAFileOfUnknownTypes) {
    const std::string text = GgufFileText().text("tokenizer.ggml.model", "gpt2").tensor("a", {256}, 16, 0).build();
    EXPECT_EQ(parse_gguf_metadata(bytes_of(text), "x").get_string("tokenizer.ggml.model"), "gpt2");
}

TEST(GgufMetadata, GettersReadEachKind) {
    const std::string text = GgufFileText()
                                 .entry<std::uint8_t>("u8", GgufFileText::u8, 200)
                                 .entry<std::int8_t>("i8", GgufFileText::i8, -5)
                                 .entry<std::uint16_t>("u16", GgufFileText::u16, 65535)
                                 .entry<std::int16_t>("i16", GgufFileText::i16, -300)
                                 .entry<std::uint32_t>("u32", GgufFileText::u32, 4000000000U)
                                 .entry<std::int32_t>("i32", GgufFileText::i32, -7)
                                 .entry<std::uint64_t>("u64", GgufFileText::u64, 1ULL << 40)
                                 .entry<std::int64_t>("i64", GgufFileText::i64, -(1LL << 40))
                                 .entry<float>("f32", GgufFileText::f32, 0.5F)
                                 .entry<double>("f64", GgufFileText::f64, 0.1)
                                 .entry<std::uint8_t>("bool", GgufFileText::boolean, 1)
                                 .text("string", "가")
                                 .strings("strings", {"", "a b", "나"})
                                 .numbers<std::int16_t>("ints", GgufFileText::i16, {-1, 2})
                                 .numbers<float>("floats", GgufFileText::f32, {1.5F, -2})
                                 .numbers<float>("none", GgufFileText::f32, {})
                                 .build();
    const Metadata metadata = parse_gguf(bytes_of(text), "x").metadata;
    EXPECT_EQ(metadata.get_int("u8"), 200);
    EXPECT_EQ(metadata.get_int("i8"), -5);
    EXPECT_EQ(metadata.get_int("u16"), 65535);
    EXPECT_EQ(metadata.get_int("i16"), -300);
    EXPECT_EQ(metadata.get_int("u32"), 4000000000);
    EXPECT_EQ(metadata.get_int("i32"), -7);
    EXPECT_EQ(metadata.get_int("u64"), std::int64_t{1} << 40);
    EXPECT_EQ(metadata.get_int("i64"), -(std::int64_t{1} << 40));
    EXPECT_EQ(metadata.get_double("f32"), 0.5);
    EXPECT_EQ(metadata.get_double("f64"), 0.1);
    EXPECT_EQ(metadata.get_double("i32"), -7.0);
    EXPECT_EQ(metadata.get_bool("bool"), true);
    EXPECT_EQ(metadata.get_string("string"), "가");
    EXPECT_THAT(metadata.get_strings("strings").value(), ElementsAre("", "a b", "나"));
    EXPECT_THAT(metadata.get_ints("ints").value(), ElementsAre(-1, 2));
    EXPECT_THAT(metadata.get_floats("floats").value(), ElementsAre(1.5F, -2.0F));
    EXPECT_TRUE(metadata.get_floats("none").value().empty());
    EXPECT_EQ(metadata.get_int("absent"), std::nullopt);
    EXPECT_EQ(metadata.get_strings("absent"), std::nullopt);
    EXPECT_EQ(metadata.entries().size(), 16U);
}

TEST(GgufMetadata, GettersRefuseOtherKinds) {
    const std::string text = GgufFileText()
                                 .entry<std::uint64_t>("large", GgufFileText::u64, ~0ULL)
                                 .entry<float>("nan", GgufFileText::f32, std::numeric_limits<float>::quiet_NaN())
                                 .text("string", "7")
                                 .numbers<std::uint8_t>("bytes", GgufFileText::u8, {1, 2, 3})
                                 .numbers<std::uint64_t>("longs", GgufFileText::u64, {1, ~0ULL})
                                 .build();
    const Metadata metadata = parse_gguf(bytes_of(text), "model.gguf").metadata;
    const auto expect_refusal = [&](auto&& call, std::string_view key) {
        try {
            call();
            ADD_FAILURE() << key << " was accepted";
        } catch (const BadFileError& error) {
            EXPECT_THAT(error.what(), HasSubstr("model.gguf"));
            EXPECT_THAT(error.what(), HasSubstr(fmt::format("\"{}\"", key)));
        }
    };
    expect_refusal([&] { metadata.get_int("large"); }, "large");
    expect_refusal([&] { metadata.get_double("large"); }, "large");
    expect_refusal([&] { metadata.get_double("nan"); }, "nan");
    expect_refusal([&] { metadata.get_int("nan"); }, "nan");
    expect_refusal([&] { metadata.get_int("string"); }, "string");
    expect_refusal([&] { metadata.get_double("string"); }, "string");
    expect_refusal([&] { metadata.get_bool("string"); }, "string");
    expect_refusal([&] { metadata.get_string("large"); }, "large");
    expect_refusal([&] { metadata.get_strings("bytes"); }, "bytes");
    expect_refusal([&] { metadata.get_floats("bytes"); }, "bytes");  // an over-read of 3 x in other readers
    expect_refusal([&] { metadata.get_ints("string"); }, "string");
    expect_refusal([&] { metadata.get_ints("longs"); }, "longs");
    expect_refusal([&] { metadata.get_int("bytes"); }, "bytes");
}

// ---- files that must be refused --------------------------------------------------------------------------------------

struct BadFile {
    std::string name;
    std::string contents;
    std::string field;  // that the message must name
};

GgufFileText start() { return GgufFileText().text("general.architecture", "llama"); }

template <class Change>
std::string changed(Change change) {
    GgufFileText file = start();
    change(file);
    return file.build();
}

std::vector<BadFile> bad_files() {
    constexpr std::uint64_t kHuge = ~0ULL;
    constexpr std::uint64_t k2To62 = 1ULL << 62;
    std::vector<BadFile> files;
    const auto add = [&](std::string name, std::string contents, std::string field) {
        files.push_back({std::move(name), std::move(contents), std::move(field)});
    };
    const auto with_entry = [](const Bytes& entry) {
        return changed([&](GgufFileText& f) { f.entries.push_back(entry.text); });
    };

    add("empty", "", "magic");
    add("no_magic", "GGML\3\0\0\0 and more bytes than the header has", "magic");
    add("magic_only", "GGUF", "version");
    add("version_0", changed([](auto& f) { f.version = 0; }), "version");
    add("version_1", changed([](auto& f) { f.version = 1; }), "version");
    add("version_4", changed([](auto& f) { f.version = 4; }), "version");
    add("big_endian", changed([](auto& f) { f.version = 0x03000000; }), "big-endian");
    add("counts_cut", test::good_gguf().substr(0, 20), "metadata count");
    add("tensor_count_negative", changed([](auto& f) { f.tensor_count = -1; }), "tensor count");
    add("tensor_count_large", changed([](auto& f) { f.tensor_count = 1000; }), "tensor count");
    add("entry_count_negative", changed([](auto& f) { f.entry_count = -1; }), "metadata count");
    add("entry_count_large", changed([](auto& f) { f.entry_count = 60000; }), "metadata count");
    add("entry_count_one_more", changed([](auto& f) { f.entry_count = 2; }), "metadata key");

    add("key_size_huge", with_entry(Bytes().number(kHuge).raw("key").number<std::uint32_t>(4).number(0)), "metadata key");
    add("key_size_past_end", with_entry(Bytes().number<std::uint64_t>(60000).raw("key").number<std::uint32_t>(4).number(0)),
        "metadata key");
    add("key_empty", with_entry(Bytes().string("").number<std::uint32_t>(4).number(0)), "metadata key 1");
    add("key_not_utf8", with_entry(Bytes().string("a\xFF").number<std::uint32_t>(4).number(0)), "metadata key 1");
    add("key_zero_byte", with_entry(Bytes().string(std::string_view("a\0b", 3)).number<std::uint32_t>(4).number(0)),
        "metadata key 1");
    add("tensor_name_zero_byte", changed([](auto& f) { f.tensor(std::string_view("a\0b", 3), {8}, 0, 0).data(32); }),
        "name of tensor 0");
    add("key_twice", changed([](auto& f) { f.text("general.architecture", "gpt2"); }), "general.architecture");
    add("value_type_13", with_entry(Bytes().string("k").number<std::uint32_t>(13).number(0)), "value type of \"k\"");
    add("value_type_negative", with_entry(Bytes().string("k").number<std::int32_t>(-1).number(0)), "value type of \"k\"");
    add("value_cut", with_entry(Bytes().string("key").number<std::uint32_t>(10).number(0)), "value of \"key\"");
    add("string_huge", with_entry(Bytes().string("key").number<std::uint32_t>(8).number(kHuge)), "value of \"key\"");
    add("string_over_limit", with_entry(Bytes().string("key").number<std::uint32_t>(8).number((16ULL << 20) + 1)),
        "value of \"key\"");
    add("string_past_end", with_entry(Bytes().string("key").number<std::uint32_t>(8).number<std::uint64_t>(100).raw("abc")),
        "value of \"key\"");
    add("bool_2", with_entry(Bytes().string("key").number<std::uint32_t>(7).number<std::uint8_t>(2)), "value of \"key\"");
    const auto array = [](std::uint32_t element, std::uint64_t count) {
        return Bytes().string("list").number<std::uint32_t>(9).number(element).number(count);
    };
    add("array_element_type_13", with_entry(array(13, 1).number(0)), "element type of \"list\"");
    add("array_of_arrays", with_entry(array(9, 1).number(4).number<std::uint64_t>(0)), "element type of \"list\"");
    add("array_length_huge", with_entry(array(0, kHuge)), "array length of \"list\"");
    add("array_length_wraps", with_entry(array(10, (1ULL << 61) + 1)), "array length of \"list\"");
    add("array_past_end", with_entry(array(4, 1000).number(0)), "array of \"list\"");
    add("array_of_strings_past_end", with_entry(array(8, 1ULL << 26)), "array length of \"list\"");
    add("array_string_huge", with_entry(array(8, 1).number(kHuge)), "array element of \"list\"");
    add("array_string_past_end", with_entry(array(8, 2).string("a").number<std::uint64_t>(9).raw("b")),
        "array element of \"list\"");
    add("array_bool_2", with_entry(array(7, 2).number<std::uint8_t>(1).number<std::uint8_t>(2)), "value of \"list\"");

    for (const std::uint32_t alignment : {0U, 1U, 4U, 7U, 24U, 8192U, 0x80000000U})
        add(fmt::format("alignment_{}", alignment), changed([&](auto& f) {
                f.entry("general.alignment", GgufFileText::u32, alignment).tensor("a", {8}, 0, 0).data(64);
            }),
            "general.alignment");
    add("alignment_u64", changed([](auto& f) { f.template entry<std::uint64_t>("general.alignment", GgufFileText::u64, 32); }),
        "general.alignment");
    add("alignment_string", changed([](auto& f) { f.text("general.alignment", "32"); }), "general.alignment");

    const auto tensor = [](auto&&... arguments) { return changed([&](GgufFileText& f) { f.tensor(arguments...).data(64); }); };
    using Dims = std::vector<std::uint64_t>;
    add("tensor_name_64", tensor(std::string(64, 'n'), Dims{8}, 0U, 0ULL), "tensor name");
    add("tensor_name_huge", changed([](auto& f) { f.tensors.push_back(Bytes().number(kHuge).fill(40).text); }), "tensor name");
    add("tensor_name_empty", tensor("", Dims{8}, 0U, 0ULL), "name of tensor 0");
    add("tensor_name_not_utf8", tensor("\xC0\xAF", Dims{8}, 0U, 0ULL), "name of tensor 0");
    add("tensor_name_twice", changed([](auto& f) { f.tensor("same", {8}, 0, 0).tensor("same", {8}, 0, 32).data(64); }),
        "\"same\"");
    add("dims_5", tensor("wide", Dims{1, 1, 1, 1, 1}, 0U, 0ULL), "number of dimensions of \"wide\"");
    add("dims_negative",
        changed([](auto& f) { f.tensors.push_back(Bytes().string("wide").number<std::int32_t>(-1).fill(32).text); }),
        "number of dimensions of \"wide\"");
    add("dim_0", tensor("flat", Dims{8, 0}, 0U, 0ULL), "dimension 1 of \"flat\"");
    add("dim_negative", tensor("flat", Dims{kHuge, 2}, 0U, 0ULL), "dimension 0 of \"flat\"");
    add("elements_overflow", tensor("large", Dims{1ULL << 32, 1ULL << 32}, 0U, 0ULL), "\"large\"");
    add("elements_wrap_to_1", tensor("large", Dims{(1ULL << 32) + 1, (1ULL << 32) - 1, 1, 1}, 0U, 0ULL), "\"large\"");
    add("bytes_overflow", tensor("large", Dims{k2To62}, 0U, 0ULL), "\"large\"");
    add("type_removed", tensor("old", Dims{32}, 4U, 0ULL), "type of \"old\"");
    add("type_unknown", tensor("new", Dims{32}, 77U, 0ULL), "type 77");
    add("type_iq2_xxs", tensor("small", Dims{256}, 16U, 0ULL), "IQ2_XXS");
    add("type_run_time_only", tensor("q", Dims{32}, 9U, 0ULL), "Q8_1");
    add("row_no_multiple_of_block", tensor("odd", Dims{33}, 2U, 0ULL), "dimension 0 of \"odd\"");
    add("row_no_multiple_of_256", tensor("odd", Dims{128, 2}, 12U, 0ULL), "dimension 0 of \"odd\"");
    add("offset_unaligned", tensor("a", Dims{8}, 0U, 16ULL), "offset of \"a\"");
    add("offset_unaligned_64", changed([](auto& f) {
            f.alignment = 64;
            f.template entry<std::uint32_t>("general.alignment", GgufFileText::u32, 64).tensor("a", {8}, 0, 32).data(64);
        }),
        "offset of \"a\"");
    add("offset_past_end", tensor("a", Dims{8}, 0U, 1ULL << 40), "data of \"a\"");
    add("offset_wraps", tensor("a", Dims{8}, 0U, ~31ULL), "data of \"a\"");
    add("offsets_overlap", changed([](auto& f) { f.tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64); }),
        "offset of \"b\"");
    add("offsets_equal", changed([](auto& f) { f.tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 0).data(64); }), "\"a\"");
    add("data_short", changed([](auto& f) { f.tensor("a", {8}, 0, 0).data(31); }), "data of \"a\"");
    add("data_missing", changed([](auto& f) { f.tensor("a", {8}, 0, 0); }), "data of \"a\"");
    add("tensor_cut", test::good_gguf().substr(0, test::good_gguf().size() - 480 - 40), "\"blk.0.ffn_gate.weight\"");
    return files;
}

double cpu_milliseconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

TEST(Gguf, EveryBadFileIsRefusedWithFileAndField) {
    const test::ScratchFolder scratch;
    for (const BadFile& bad : bad_files()) {
        const Path path = scratch.write(bad.name + ".gguf", bad.contents);
        const double begin = cpu_milliseconds();
        try {
            open_checkpoint(path);
            ADD_FAILURE() << bad.name << " was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_file) << bad.name << ": " << error.what();
            EXPECT_THAT(error.what(), HasSubstr(path.string()));
            EXPECT_THAT(error.what(), HasSubstr(bad.field)) << bad.name;
        }
        EXPECT_LT(cpu_milliseconds() - begin, 10) << bad.name;
    }
}

// ---- split models -----------------------------------------------------------------------------------------------------

struct SplitPart {
    std::string tensor;
    int index = 0, count = 2, total = 2;
};

std::string split_text(const SplitPart& part) {
    return start()
        .entry<std::uint16_t>("split.no", GgufFileText::u16, static_cast<std::uint16_t>(part.index))
        .entry<std::uint16_t>("split.count", GgufFileText::u16, static_cast<std::uint16_t>(part.count))
        .entry<std::int32_t>("split.tensors.count", GgufFileText::i32, part.total)
        .tensor(part.tensor, {8}, 0, 0)
        .data(32)
        .build();
}

void expect_error(const Path& path, ExitCode code, std::string_view text) {
    try {
        open_checkpoint(path);
        ADD_FAILURE() << path << " was accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(text));
    }
}

TEST(GgufSplit, PartsAreOneModel) {
    const test::ScratchFolder scratch;
    const Path first = scratch.write("m-00001-of-00002.gguf", split_text({"b", 0}));
    scratch.write("m-00002-of-00002.gguf", split_text({"a", 1}));
    const Checkpoint checkpoint = open_checkpoint(first);
    ASSERT_EQ(checkpoint.weights.size(), 2U);
    EXPECT_EQ(checkpoint.weights[0].name(), "a");
    EXPECT_EQ(checkpoint.weights[0].packed.file->path().filename(), "m-00002-of-00002.gguf");
    EXPECT_EQ(checkpoint.files.size(), 2U);
    EXPECT_EQ(checkpoint.file_bytes, checkpoint.files[0]->bytes().size() + checkpoint.files[1]->bytes().size());
}

TEST(GgufSplit, BadPartsAreRefused) {
    const test::ScratchFolder scratch;
    const auto write = [&](std::string_view folder, const SplitPart& first, const SplitPart& second) {
        scratch.write(fmt::format("{}/m-00002-of-00002.gguf", folder), split_text(second));
        return scratch.write(fmt::format("{}/m-00001-of-00002.gguf", folder), split_text(first));
    };
    expect_error(scratch.write("missing/m-00001-of-00002.gguf", split_text({"a", 0})), ExitCode::io, "m-00002-of-00002.gguf");
    expect_error(scratch.write("name/model.gguf", split_text({"a", 0})), ExitCode::bad_file, "00001-of-00002.gguf");
    expect_error(scratch.write("count0/m-00001-of-00002.gguf", split_text({"a", 0, 0})), ExitCode::bad_file, "split.count");
    expect_error(write("index", {"a", 0}, {"b", 0}), ExitCode::bad_file, "split.no");
    expect_error(write("count", {"a", 0}, {"b", 1, 3}), ExitCode::bad_file, "split.count");
    expect_error(write("total", {"a", 0, 2, 9}, {"b", 1}), ExitCode::bad_file, "split.tensors.count");
    expect_error(write("twice", {"a", 0}, {"a", 1}), ExitCode::bad_file, "\"a\"");
    write("second", {"a", 0}, {"b", 1});
    expect_error(scratch.path() / "second/m-00002-of-00002.gguf", ExitCode::bad_file, "open m-00001-of-00002.gguf");
}

TEST(Gguf, TheDefaultModelOpens) {
    const Checkpoint checkpoint = open_checkpoint(test::default_model());
    EXPECT_EQ(checkpoint.layout, "gguf");
    EXPECT_EQ(checkpoint.weights.size(), 272U);
    EXPECT_EQ(checkpoint.file_bytes, 98362432U);
    EXPECT_EQ(checkpoint.metadata.get_string("general.architecture"), "llama");
    EXPECT_EQ(checkpoint.metadata.get_int("llama.block_count"), 30);
    EXPECT_EQ(checkpoint.metadata.get_strings("tokenizer.ggml.tokens")->size(), 49152U);
    const StoredWeight* embedding = checkpoint.find("token_embd.weight");
    ASSERT_NE(embedding, nullptr);
    EXPECT_EQ(embedding->shape, Shape({49152, 576}));
    for (const StoredWeight& weight : checkpoint.weights) EXPECT_NO_THROW(validate(weight.packed)) << weight.name();
    EXPECT_EQ(checkpoint.find("token_embd"), nullptr);
}

}  // namespace
}  // namespace narae
