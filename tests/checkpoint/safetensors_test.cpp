#include "checkpoint/safetensors.h"

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narae {
namespace {

using test::Bytes;
using test::safetensors_text;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(Safetensors, ReadsTensorsInOrderOfTheirData) {
    const std::string text = test::good_safetensors();
    const auto tensors = parse_safetensors(bytes_of(text), "x");
    ASSERT_EQ(tensors.size(), 5U);
    EXPECT_EQ(tensors[0].name, "a.weight");
    EXPECT_EQ(tensors[0].shape, Shape({2, 3}));
    EXPECT_EQ(tensors[1].dtype, DType::bf16);
    EXPECT_EQ(tensors[2].shape.rank(), 0);
    EXPECT_EQ(tensors[4].name, "empty");
    EXPECT_TRUE(tensors[4].bytes.empty());
    EXPECT_EQ(tensors[3].bytes.data() + 8, bytes_of(text).data() + text.size());
}

TEST(Safetensors, TheHeadersOrderIsFree) {
    const std::string text =
        safetensors_text(R"( {"b":{"data_offsets":[4,6],"shape":[1],"dtype":"F16","extra":[{"deep":[1.5e3,null]}]},)"
                         R"("a":{"shape":[1],"dtype":"F32","data_offsets":[0,4]}})",
                         6);
    const std::string without_space = safetensors_text(std::string_view(text).substr(9, text.size() - 9 - 6), 6);
    const auto tensors = parse_safetensors(bytes_of(without_space), "x");
    ASSERT_EQ(tensors.size(), 2U);
    EXPECT_EQ(tensors[0].name, "a");
    EXPECT_EQ(tensors[1].bytes.size(), 2U);
    EXPECT_THROW(parse_safetensors(bytes_of(text), "x"), BadFileError);  // begins with a space
}

TEST(Safetensors, EscapedNames) {
    const std::string text =
        safetensors_text(R"({"\u00e9\ud83d\ude00\n\"\\\/\b\f\r\t가":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
    EXPECT_EQ(parse_safetensors(bytes_of(text), "x")[0].name, "é😀\n\"\\/\b\f\r\t가");
}

TEST(Safetensors, SubByteTypes) {
    const std::string text = safetensors_text(R"({"f4":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]},)"
                                              R"("f6":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[3,6]}})",
                                              6);
    EXPECT_EQ(parse_safetensors(bytes_of(text), "x").size(), 2U);
}

TEST(Safetensors, NoTensors) {
    for (const std::string_view header : {"{}", "{\"__metadata__\":{}}", "{ }  ", "{\"__metadata__\":null}"})
        EXPECT_TRUE(parse_safetensors(bytes_of(safetensors_text(header, 0)), "x").empty()) << header;
}

struct BadFile {
    std::string name;
    std::string contents;
    std::string field;
};

std::vector<BadFile> bad_files() {
    std::vector<BadFile> files;
    const auto raw = [&](std::string name, std::string contents, std::string field) {
        files.push_back({std::move(name), std::move(contents), std::move(field)});
    };
    const auto header = [&](std::string name, std::string_view text, std::string field, std::size_t data = 4) {
        raw(std::move(name), safetensors_text(text, data), std::move(field));
    };
    // One tensor "t" whose value is given.
    const auto tensor = [&](std::string name, std::string_view value, std::string field, std::size_t data = 4) {
        header(std::move(name), fmt::format("{{\"t\":{}}}", value), std::move(field), data);
    };

    raw("empty", "", "header length");
    raw("length_cut", "\2\0\0\0", "header length");
    raw("length_over_100_mb", Bytes().number<std::uint64_t>(100'000'001).raw("{}").text, "header length");
    raw("length_huge", Bytes().number(~0ULL).raw("{}").text, "header length");
    raw("length_past_end", Bytes().number<std::uint64_t>(3).raw("{}").text, "header");
    raw("pickle", "PK\3\4 a zip file of pickles", "header length");
    header("no_header", "", "header", 0);
    header("no_brace", " {}", "header");
    header("array", "[]", "header");
    header("not_utf8", "{\"\xFF\":1}", "header");
    header("cut", R"({"t":{"dtype":"F32")", "header");
    header("string_cut", R"({"t)", "header");
    header("no_colon", R"({"t" {}})", "header");
    header("trailing_comma", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},})", "header");
    header("trailing_text", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} x)", "header");
    header("trailing_zero_bytes", std::string("{}\0\0", 4), "header", 0);
    header("control_character", "{\"a\nb\":{}}", "header");
    header("bad_escape", R"({"\x":{}})", "header");
    header("lone_surrogate", R"({"\ud800":{}})", "header");
    header("low_surrogate", R"({"\udc00x":{}})", "header");
    header("twice",
           R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           "\"t\"", 8);
    header(
        "twice_escaped",
        R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0074":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
        "\"t\"", 8);
    header("name_long", fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", std::string(4097, 'n')),
           "name");
    header("metadata_number", R"({"__metadata__":{"a":1}})", "header", 0);
    header("metadata_list", R"({"__metadata__":[]})", "header", 0);
    header("metadata_twice", R"({"__metadata__":{},"__metadata__":{}})", "__metadata__", 0);
    header("metadata_key_twice", R"({"__metadata__":{"a":"","a":""}})", "__metadata__", 0);

    tensor("value_number", "1", "header");
    tensor("value_null", "null", "header");
    tensor("dtype_missing", R"({"shape":[1],"data_offsets":[0,4]})", "tensor \"t\": dtype");
    tensor("dtype_unknown", R"({"dtype":"F33","shape":[1],"data_offsets":[0,4]})", "tensor \"t\": dtype");
    tensor("dtype_lower_case", R"({"dtype":"f32","shape":[1],"data_offsets":[0,4]})", "tensor \"t\": dtype");
    tensor("dtype_number", R"({"dtype":32,"shape":[1],"data_offsets":[0,4]})", "header");
    tensor("dtype_twice", R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})", "tensor \"t\": dtype");
    tensor("shape_missing", R"({"dtype":"F32","data_offsets":[0,4]})", "tensor \"t\": shape");
    tensor("shape_twice", R"({"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]})", "tensor \"t\": shape");
    tensor("shape_number", R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})", "header");
    tensor("shape_negative", R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", "header");
    tensor("shape_float", R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})", "header");
    tensor("shape_exponent", R"({"dtype":"F32","shape":[1e0],"data_offsets":[0,4]})", "header");
    tensor("shape_leading_zero", R"({"dtype":"F32","shape":[01],"data_offsets":[0,4]})", "header");
    tensor("shape_string", R"({"dtype":"F32","shape":["1"],"data_offsets":[0,4]})", "header");
    tensor("shape_over_63_bits", R"({"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]})",
           "tensor \"t\": shape");
    tensor("shape_over_64_bits", R"({"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]})", "header");
    tensor("shape_rank_9", R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})", "tensor \"t\": shape");
    tensor("shape_overflow", R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})", "tensor \"t\": shape");
    tensor("shape_wraps_to_1", R"({"dtype":"F32","shape":[4294967297,4294967295,1],"data_offsets":[0,4]})", "tensor \"t\": ");
    tensor("shape_bytes_overflow", R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]})",
           "tensor \"t\": shape");
    tensor("shape_too_small", R"({"dtype":"F32","shape":[],"data_offsets":[0,8]})", "tensor \"t\": data_offsets", 8);
    tensor("shape_too_large", R"({"dtype":"F64","shape":[1],"data_offsets":[0,4]})", "tensor \"t\": data_offsets");
    tensor("half_a_byte", R"({"dtype":"F4","shape":[3],"data_offsets":[0,1]})", "tensor \"t\": shape", 1);
    tensor("offsets_missing", R"({"dtype":"F32","shape":[1]})", "tensor \"t\": data_offsets");
    tensor("offsets_1", R"({"dtype":"F32","shape":[1],"data_offsets":[0]})", "tensor \"t\": data_offsets");
    tensor("offsets_3", R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})", "tensor \"t\": data_offsets");
    tensor("offsets_twice", R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4]})",
           "tensor \"t\": data_offsets");
    tensor("offsets_negative", R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})", "header");
    tensor("offsets_reversed", R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", "tensor \"t\": data_offsets");
    tensor("offsets_past_end", R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", "tensor \"t\": data_offsets");
    tensor("offsets_huge", R"({"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]})",
           "tensor \"t\": data_offsets");
    tensor("hole_before", R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", "tensor \"t\": data_offsets", 8);
    tensor("tail", R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", "tensors end at 4", 5);
    header("data_without_tensors", "{}", "tensors end at 0", 1);
    header("hole",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           "tensor \"b\"", 3);
    header("overlap",
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "tensor \"b\"", 3);
    header("same_bytes",
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
           "data_offsets", 2);
    tensor("deep",
           fmt::format(R"({{"x":{}1{},"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", std::string(100000, '['),
                       std::string(100000, ']')),
           "header");
    return files;
}

TEST(Safetensors, EveryBadFileIsRefusedWithFileAndField) {
    for (const BadFile& bad : bad_files()) {
        const test::ScratchFolder scratch;
        scratch.write("config.json", "{}");
        const Path path = scratch.write("model.safetensors", bad.contents);
        try {
            open_checkpoint(scratch.path());
            ADD_FAILURE() << bad.name << " was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_file) << bad.name << ": " << error.what();
            EXPECT_THAT(error.what(), HasSubstr(path.string())) << bad.name;
            EXPECT_THAT(error.what(), HasSubstr(bad.field)) << bad.name;
        }
    }
}

// ---- folders ----------------------------------------------------------------------------------------------------------

std::string one_tensor(std::string_view name) {
    return safetensors_text(fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", name), 4);
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

TEST(SafetensorsFolder, WeightsAndOthers) {
    const test::ScratchFolder scratch;
    scratch.write("config.json", R"({"model_type":"llama"})");
    scratch.write("generation_config.json", R"({"eos_token_id":[1,2]})");
    scratch.write("model.safetensors", test::good_safetensors());
    const Checkpoint checkpoint = open_checkpoint(scratch.path());
    EXPECT_EQ(checkpoint.layout, "safetensors");
    EXPECT_EQ(checkpoint.config["model_type"], "llama");
    EXPECT_EQ(checkpoint.generation_config["eos_token_id"][1], 2);
    ASSERT_EQ(checkpoint.weights.size(), 3U);
    EXPECT_EQ(checkpoint.weights[0].packed.out, 2);
    EXPECT_EQ(checkpoint.weights[0].packed.in, 3);
    EXPECT_EQ(checkpoint.weights[1].packed.out, 1);
    EXPECT_EQ(checkpoint.weights[1].packed.in, 5);
    EXPECT_EQ(checkpoint.weights[2].packed.in, 1);  // a scalar
    ASSERT_EQ(checkpoint.others.size(), 2U);
    EXPECT_EQ(checkpoint.others[0].name, "empty");
    EXPECT_EQ(checkpoint.others[1].dtype, DType::i64);
    EXPECT_NO_THROW(require_weights(checkpoint));
}

TEST(SafetensorsFolder, UnalignedDataIsRead) {
    // The header's length puts the data at an odd address.
    const float values[] = {1.5F, -2.0F, 3.25F};
    for (std::size_t pad = 0; pad < 8; ++pad) {
        const test::ScratchFolder scratch;
        scratch.write("config.json", "{}");
        std::string text = R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})" + std::string(pad, ' ');
        scratch.write("model.safetensors",
                      Bytes().string(text).raw({reinterpret_cast<const char*>(values), sizeof values}).text);
        const Checkpoint checkpoint = open_checkpoint(scratch.path());
        EXPECT_THAT(unpack_all(checkpoint.weights[0].packed), testing::ElementsAreArray(values));
    }
}

TEST(SafetensorsFolder, ShardsAreOneModel) {
    const test::ScratchFolder scratch;
    scratch.write("config.json", "{}");
    scratch.write("model-00001-of-00002.safetensors", one_tensor("b"));
    scratch.write("model-00002-of-00002.safetensors", one_tensor("a"));
    scratch.write(
        "model.safetensors.index.json",
        R"({"metadata":{"total_size":1},"weight_map":{"a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors"}})");
    const Checkpoint checkpoint = open_checkpoint(scratch.path());
    ASSERT_EQ(checkpoint.weights.size(), 2U);
    EXPECT_EQ(checkpoint.weights[0].packed.file->path().filename(), "model-00002-of-00002.safetensors");
    EXPECT_EQ(checkpoint.files.size(), 2U);
}

TEST(SafetensorsFolder, BadIndexesAreRefused) {
    const auto check = [](std::string_view index, ExitCode code, std::string_view text) {
        const test::ScratchFolder scratch;
        scratch.write("outside.safetensors", one_tensor("a"));
        scratch.write("m/config.json", "{}");
        scratch.write("m/model-1.safetensors", one_tensor("a"));
        scratch.write("m/model-2.safetensors", one_tensor("a"));
        scratch.write("m/sub/model.safetensors", one_tensor("a"));
        scratch.write("m/model.safetensors.index.json", index);
        expect_error(scratch.path() / "m", code, text);
    };
    constexpr ExitCode kBad = ExitCode::bad_file;
    check("", kBad, "model.safetensors.index.json");
    check("[]", kBad, "model.safetensors.index.json");
    check("{}", kBad, "\"weight_map\" is missing");
    check(R"({"weight_map":{}})", kBad, "\"weight_map\" is empty");
    check(R"({"weight_map":[]})", kBad, "model.safetensors.index.json");
    check(R"({"weight_map":{"a":1}})", kBad, "model.safetensors.index.json");
    check(R"({"weight_map":{"a":"model-1.safetensors"},"weight_map":{}})", kBad, "weight_map");
    check(R"({"weight_map":{"a":"model-1.safetensors","a":"model-1.safetensors"}})", kBad, "\"a\" twice");
    check(R"({"weight_map":{"a":"../outside.safetensors"}})", kBad, "../outside.safetensors");
    check(R"({"weight_map":{"a":"/etc/passwd.safetensors"}})", kBad, "/etc/passwd");
    check(R"({"weight_map":{"a":"sub/model.safetensors"}})", kBad, "sub/model.safetensors");
    check(R"({"weight_map":{"a":".."}})", kBad, "\"..\"");
    check(R"({"weight_map":{"a":""}})", kBad, "weight_map");
    check(R"({"weight_map":{"a":"config.json"}})", kBad, "config.json");
    check(R"({"weight_map":{"a":"model-1.safetensors\u0000.safetensors"}})", kBad, "weight_map");
    check(R"({"weight_map":{"a":"model-3.safetensors"}})", ExitCode::io, "model-3.safetensors");
    check(R"({"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors"}})", kBad, "\"b\"");
    check(R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})", kBad, "\"a\" is there twice");
}

TEST(SafetensorsFolder, OtherFoldersAreRefused) {
    const test::ScratchFolder scratch;
    const auto check = [&](std::string_view folder, std::vector<std::pair<std::string, std::string>> files,
                           std::string_view text) {
        for (const auto& [name, contents] : files) scratch.write(fmt::format("{}/{}", folder, name), contents);
        expect_error(scratch.path() / folder, ExitCode::bad_file, text);
    };
    check("pickle", {{"config.json", "{}"}, {"pytorch_model.bin", "x"}}, "pytorch_model.bin");
    check("pickle_alone", {{"model.pt", "x"}}, "model.pt");
    check("other_name", {{"config.json", "{}"}, {"adapter_model.safetensors", "x"}}, "adapter_model.safetensors");
    check("quantized", {{"config.json", R"({"quantization_config":{"quant_method":"quip"}})"}}, "\"quip\"");
    check("quantized_no_method", {{"config.json", R"({"quantization_config":{}})"}}, "quant_method");
    check("config_damaged", {{"config.json", "{"}, {"model.safetensors", one_tensor("a")}}, "config.json");
    check("config_list", {{"config.json", "[]"}}, "config.json");
    check("config_twice", {{"config.json", R"({"a":1,"a":2})"}}, "config.json");
    check("generation_config_damaged", {{"config.json", "{}"}, {"generation_config.json", "1"}}, "generation_config.json");
    check("other", {{"readme.txt", "x"}}, "readme.txt");
    std::filesystem::create_directory(scratch.path() / "nothing");
    expect_error(scratch.path() / "nothing", ExitCode::bad_file, "found nothing");
    expect_error(scratch.write("one.safetensors", one_tensor("a")), ExitCode::bad_file, "one.safetensors");
    expect_error(scratch.write("model.bin", "x"), ExitCode::bad_file, "pickle");
    expect_error(scratch.write("notes.txt", "x"), ExitCode::bad_file, "notes.txt");
    expect_error(scratch.path() / "absent", ExitCode::io, "absent");
}

TEST(SafetensorsFolder, AFolderWithTokenizerAloneOpensWithoutWeights) {
    const test::ScratchFolder scratch;
    scratch.write("tokenizer.json", "{}");
    const Checkpoint checkpoint = open_checkpoint(scratch.path());
    EXPECT_TRUE(checkpoint.weights.empty());
    EXPECT_TRUE(checkpoint.config.is_null());
    EXPECT_THROW(require_weights(checkpoint), BadFileError);
}

}  // namespace
}  // namespace narae
