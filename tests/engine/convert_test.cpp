// Conversion: what is written in the other convention is the same model, to the same logits and the same token ids.
#include "model/convert.h"

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/text_files.h"
#include "engine/prompt_logits.h"
#include "support/support.h"
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace narae::test {
namespace {

struct Source {
    Path path;
    std::vector<std::int32_t> prompt;
};

std::vector<Source> sources() {
    std::vector<Source> all;
    for (const Path& folder : file_system().list(data_file("models"))) {
        if (!file_system().is_file(folder / "golden.json")) continue;
        Path path = folder;
        for (const Path& file : file_system().list(folder))
            if (file.extension() == ".gguf" && path == folder) path = file;
        const Json golden = parse_json(read_text_file(folder / "golden.json"), "golden.json");
        all.push_back({path, golden["prompt_ids"].get<std::vector<std::int32_t>>()});
    }
    return all;
}

std::vector<float> logits(const Path& path, const std::vector<std::int32_t>& ids) {
    LoadOptions options;
    options.backend.device = "ref";
    options.activations = kernels::Activations::f32;
    options.context = static_cast<int>(ids.size());
    options.max_logit_rows = 512;
    Model model = load_model(open_checkpoint(path), options);
    std::vector<float> all;
    prompt_logits(model, ids, 0,
                  [&](std::int64_t, std::span<const float> row) { all.insert(all.end(), row.begin(), row.end()); });
    return all;
}

Path save(const ScratchFolder& folder, const Path& source, Naming naming, std::optional<std::string> format,
          std::string_view name) {
    const Checkpoint checkpoint = open_checkpoint(source);
    ConvertOptions options;
    options.naming = naming;
    options.format = std::move(format);
    const Path target = folder.path() / (std::string(name) + (naming == Naming::gguf ? ".gguf" : ""));
    find_layout(naming == Naming::gguf ? "gguf" : "safetensors")->save(convert(checkpoint, options), target);
    return target;
}

void expect_near(const std::vector<float>& found, const std::vector<float>& expected, const std::string& what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    float largest = 0.0f, worst = 0.0f;
    for (std::size_t i = 0; i < found.size(); ++i) {
        largest = std::max(largest, std::abs(expected[i]));
        worst = std::max(worst, std::abs(found[i] - expected[i]));
    }
    // The same float32 weights; sums of a head's products run in another order, float32 activations carry a few roundings per
    // layer.
    EXPECT_LE(worst, 64 * 0x1p-23f * largest) << what;
}

// Scalings that GGUF has no words for.
bool can_be_gguf(const Path& path) {
    const std::string name = path.string();
    return name.find("dynamic") == std::string::npos && name.find("longrope") == std::string::npos &&
           name.find("yarn-") == std::string::npos && name.find("gpt2-inner") == std::string::npos &&
           name.find("gpt2-untied") == std::string::npos;
}

TEST(Convert, round_trips_keep_the_logits) {
    int round_trips = 0, refused = 0;
    for (const Source& source : sources()) {
        const ScratchFolder folder;
        const std::vector<float> expected = logits(source.path, source.prompt);
        const Path dense = save(folder, source.path, Naming::hugging_face, "f32", "dense");
        expect_near(logits(dense, source.prompt), expected, source.path.string() + " to a folder");
        Path gguf;
        try {
            gguf = save(folder, source.path, Naming::gguf, "f32", "model");
        } catch (const BadFileError& error) {
            EXPECT_FALSE(can_be_gguf(source.path)) << error.what();
            ++refused;
            continue;
        }
        expect_near(logits(gguf, source.prompt), expected, source.path.string() + " to gguf");
        const Path back = save(folder, gguf, Naming::hugging_face, "f32", "back");
        expect_near(logits(back, source.prompt), expected, source.path.string() + " to gguf and back");
        ++round_trips;
    }
    EXPECT_GE(round_trips, 8);
    EXPECT_GE(refused, 1);
}

TEST(Convert, f32_is_exactly_code_times_scale) {
    const ScratchFolder folder;
    const Path dense = save(folder, data_file("models/gguf-mixed/model.gguf"), Naming::gguf, "f32", "dense");
    const Checkpoint before = open_checkpoint(data_file("models/gguf-mixed/model.gguf")), after = open_checkpoint(dense);
    ASSERT_EQ(before.weights.size(), after.weights.size());
    for (const StoredWeight& weight : before.weights) {
        const std::vector<float> expected = unpack_all(weight.packed), found = unpack_all(after.find(weight.name())->packed);
        ASSERT_EQ(found.size(), expected.size());
        EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)), 0) << weight.name();
    }
}

TEST(Convert, packed_weights_stay_as_they_are_within_gguf) {
    const ScratchFolder folder;
    const Path source = data_file("models/gguf-mixed/model.gguf");
    const Path copy = save(folder, source, Naming::gguf, std::nullopt, "copy");
    const Checkpoint before = open_checkpoint(source), after = open_checkpoint(copy);
    for (const StoredWeight& weight : before.weights) {
        if (weight.shape.rank() != 2) continue;
        const StoredWeight& other = *after.find(weight.name());
        EXPECT_EQ(other.packed.format, weight.packed.format) << weight.name();
        EXPECT_TRUE(std::ranges::equal(other.packed.codes(), weight.packed.codes())) << weight.name();
    }
}

TEST(Convert, quantizes_by_the_formats_own_rule) {
    for (const char* name : {"q8_0", "q4_0", "q4_1"}) {
        const ScratchFolder folder;
        const Path source = data_file("models/llama-gqa-tied");
        const Checkpoint before = open_checkpoint(source),
                         after = open_checkpoint(save(folder, source, Naming::gguf, name, "model"));
        const StoredWeight& down = *after.find("blk.0.ffn_down.weight");
        EXPECT_EQ(down.packed.format->name, name);
        const std::vector<float> values = unpack_all(before.find("model.layers.0.mlp.down_proj.weight")->packed);
        std::vector<std::byte> codes(down.packed.codes().size());
        find_format(name)->pack(values.data(), static_cast<std::int64_t>(values.size()), codes.data());
        EXPECT_TRUE(std::ranges::equal(codes, down.packed.codes()));
        EXPECT_EQ(after.find("token_embd.weight")->packed.format->name, "q8_0");
        EXPECT_EQ(after.find("output_norm.weight")->packed.format->name, "f32");
    }
}

TEST(Convert, tokenizer_and_template_go_along) {
    const ScratchFolder folder;
    const Path source = data_file("models/llama-gqa-tied");
    const Path gguf = save(folder, source, Naming::gguf, "f16", "model"),
               back = save(folder, gguf, Naming::hugging_face, "f16", "back");
    const ModelText expected = load_model_text(source);
    for (const Path& path : {gguf, back}) {
        const ModelText text = load_model_text(path);
        EXPECT_EQ(text.chat_template, expected.chat_template);
        // GGUF readers also know end tokens by their names.
        EXPECT_TRUE(std::ranges::includes(text.end_ids, expected.end_ids));
        for (const char* sample :
             {"The little bird", "나래를 펴고", "a나b래\n\n\tc", "<|im_start|>user\nhi<|im_end|>", "  two  spaces"})
            EXPECT_EQ(text.require_tokenizer().encode(sample), expected.require_tokenizer().encode(sample)) << path << sample;
    }
}

TEST(Convert, impossible_targets_are_refused) {
    const Checkpoint checkpoint = open_checkpoint(data_file("models/llama-plain"));
    ConvertOptions options;
    options.format = "q8_0";
    EXPECT_THROW(convert(checkpoint, options), UsageError);
    options.format = "q4_k";
    options.naming = Naming::gguf;
    EXPECT_THROW(convert(checkpoint, options), UsageError);
    options.format = "nonsense";
    EXPECT_THROW(convert(checkpoint, options), UsageError);
}

}  // namespace
}  // namespace narae::test
