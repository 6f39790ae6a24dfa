// A toy architecture, number format and file layout, one file each beside this one, run through the whole program: no line
// elsewhere knows them.
#include "base/json.h"
#include "engine/prompt_logits.h"
#include "model/convert.h"
#include "support/random_weights.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace narae::test {
namespace {

const Json kConfig = {{"model_type", "toy"}, {"depth", 2}, {"width", 32}, {"heads", 2}, {"vocab", 50}, {"positions", 16}};

// A checkpoint whose matrices are ternary.
Path write_model(const ScratchFolder& folder) {
    Checkpoint named;
    named.config = kConfig;
    CheckpointToSave contents;
    contents.config = kConfig;
    const Format* const ternary = find_format("toy_ternary");
    std::uint64_t seed = 1;
    const Family& family = find_family(named);
    for (const WeightSlot& slot : family.weights(family.read_config(kConfig, "toy"))) {
        const bool matrix =
            slot.shape.rank() == 2 && slot.slot != Slot::token_embedding && slot.slot != Slot::position_embedding;
        const std::vector<float> values = random_values(static_cast<std::size_t>(slot.shape.elements()), seed++, 0.5f);
        const Format* const format = matrix ? ternary : find_format("f32");
        contents.weights.push_back({slot.hf, slot.shape, format, [=](std::span<std::byte> codes) {
                                        format->pack(values.data(), static_cast<std::int64_t>(values.size()), codes.data());
                                    }});
    }
    const Path path = folder.path() / "model.toy";
    find_layout("toy")->save(contents, path);
    return path;
}

std::vector<float> logits(const Path& path, const std::string& device) {
    LoadOptions options;
    options.backend.device = device;
    options.activations = kernels::Activations::f32;
    options.max_logit_rows = 16;
    Model model = load_model(open_checkpoint(path), options);
    const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
    std::vector<float> all;
    prompt_logits(model, ids, 0,
                  [&](std::int64_t, std::span<const float> row) { all.insert(all.end(), row.begin(), row.end()); });
    return all;
}

TEST(Extend, toy_architecture_format_and_layout_run) {
    ScratchFolder folder;
    const Path path = write_model(folder);
    const std::vector<float> expected = logits(path, "ref"), found = logits(path, "cpu");
    ASSERT_EQ(expected.size(), 8u * 50u);
    ASSERT_EQ(found.size(), expected.size());
    float largest = 0.0f;
    for (float value : expected) largest = std::max(largest, std::abs(value));
    EXPECT_GT(largest, 0.0f);
    // Two layers of sums over 32 float32 products: a few hundred roundings of the largest value.
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 500 * 0x1p-24 * largest);
}

TEST(Extend, toy_model_is_dequantized_into_another_layout) {
    ScratchFolder folder;
    const Path path = write_model(folder);
    const Checkpoint checkpoint = open_checkpoint(path);
    ConvertOptions options;
    options.format = "f32";
    find_layout("safetensors")->save(convert(checkpoint, options), folder.path() / "dense");
    EXPECT_EQ(logits(folder.path() / "dense", "ref"), logits(path, "ref"));
}

}  // namespace
}  // namespace narae::test
