// A model run block by block gives the hidden states of the model run whole.
#include "quant/block_runner.h"

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/text_files.h"
#include "kernels/ref/norm.h"
#include "model/convert.h"
#include "model/model.h"
#include "support/support.h"
#include "support/tested_devices.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace narae::test {
namespace {

constexpr int kSamples = 5, kTokens = 20;

// Logits of every position of one sample by the whole model in float32.
std::vector<float> whole_logits(Model& model, std::span<const std::int32_t> ids) {
    const std::vector<SequenceRows> one = {{0, 0, static_cast<int>(ids.size())}};
    TestBatch batch(one, 1, 1);
    batch.ids.assign(ids.begin(), ids.end());
    batch.logit_rows.resize(ids.size());
    std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
    batch.refresh();
    std::vector<std::unique_ptr<kernels::KvStorage>> kv;
    for (const kernels::KvGroup& group : model.shape.groups) {
        kv.push_back(model.backend->make_kv(group));
        kv.back()->reserve_blocks(batch.blocks);
    }
    model.decoder.forward(*model.backend, batch.batch, kv, model.workspace);
    std::vector<float> logits(ids.size() * static_cast<std::size_t>(model.config().vocab));
    model.backend->copy_to_host(model.workspace.logits, std::as_writable_bytes(std::span(logits)));
    return logits;
}

TEST(BlockRunner, GivesTheHiddenStatesOfTheWholeModel) {
    for (const char* name :
         {"llama-gqa-tied", "llama-bias", "llama-head-dim", "llama-rope-llama3", "gpt2-plain", "gpt2-untied"}) {
        SCOPED_TRACE(name);
        const Checkpoint original = open_checkpoint(data_file(std::string("models/") + name));
        const ScratchFolder folder;
        ConvertOptions options;
        options.format = "f16";
        save_safetensors(convert(original, options), folder.path() / "f16");
        const Checkpoint checkpoint = open_checkpoint(folder.path() / "f16");

        const Source source(checkpoint, DType::f16);
        CalibrationSet set{.samples = kSamples, .tokens = kTokens, .ids = {}};
        for (int i = 0; i < kSamples * kTokens; ++i) set.ids.push_back((i * 37 + i / kTokens) % source.config().vocab);
        BlockRunner runner(source, set, {.device = "cpu", .threads = 2, .instruction_set = {}});
        for (int layer = 0; layer < source.config().layers; ++layer) {
            runner.load_block(layer);
            for (const Product product : kProducts) {
                std::vector<OwnedWeight> owned;
                std::vector<PackedWeight> parts;
                std::vector<std::vector<float>> values;
                for (const WeightSlot* slot : weights_of(source, layer, product)) {
                    values.push_back(source.values(*slot));
                    PackedWeight part;
                    part.format = find_format("f32");
                    part.out = slot->shape[0];
                    part.in = slot->shape[1];
                    part.buffers = {std::as_bytes(std::span(values.back()))};
                    part.name = slot->hf;
                    parts.push_back(std::move(part));
                }
                runner.set_weights(product, parts);
                if (product == Product::o) {
                    std::size_t numbers = 0;
                    runner.watch(Product::o, [&](std::span<const float> x) { numbers += x.size(); });
                    EXPECT_EQ(numbers, static_cast<std::size_t>(kSamples * kTokens) * static_cast<std::size_t>(parts[0].in));
                    runner.add_attention();
                }
                if (product == Product::down) runner.add_mlp();
            }
        }

        LoadOptions load;
        load.backend = {.device = "cpu", .threads = 1, .instruction_set = {}};
        load.activations = kernels::Activations::f32;
        load.context = 64;
        load.max_rows = load.max_logit_rows = kTokens;
        Model model = load_model(open_checkpoint(folder.path() / "f16"), load);
        const ModelConfig& c = source.config();
        const WeightSlot* head = source.find(-1, Slot::head);
        const std::vector<float> matrix = source.values(head ? *head : *source.find(-1, Slot::token_embedding));
        const std::vector<float> norm_weight = source.values(*source.find(-1, Slot::final_norm));
        const WeightSlot* bias = source.find(-1, Slot::final_norm_bias);
        std::vector<float> norm_bias = bias ? source.values(*bias) : std::vector<float>{};
        kernels::Norm norm{c.norm, c.norm_eps, make_tensor(const_cast<float*>(norm_weight.data()), DType::f32, {c.hidden}), {}};
        if (bias) norm.bias = make_tensor(norm_bias.data(), DType::f32, {c.hidden});
        for (int s = 0; s < kSamples; ++s) {
            const auto first = static_cast<std::size_t>(s * kTokens);
            const std::vector<float> logits = whole_logits(model, std::span(set.ids).subspan(first, kTokens));
            double most = 0.0, largest = 0.0;
            for (std::size_t r = 0; r < kTokens; ++r) {
                std::vector<float> y(static_cast<std::size_t>(c.hidden));
                kernels::ref::norm(c.hidden, runner.hidden().data() + (first + r) * y.size(), norm, y.data());
                for (std::size_t v = 0; v < static_cast<std::size_t>(c.vocab); ++v) {
                    double logit = 0.0;
                    for (std::size_t i = 0; i < y.size(); ++i)
                        logit += static_cast<double>(y[i]) * static_cast<double>(matrix[v * y.size() + i]);
                    const double found = static_cast<double>(logits[r * static_cast<std::size_t>(c.vocab) + v]);
                    most = std::max(most, std::abs(logit - found));
                    largest = std::max(largest, std::abs(found));
                }
            }
            EXPECT_LE(most, 1e-5 * largest);
        }
    }
}

TEST(BlockRunner, RefusesTokensAndPositionsThatTheModelLacks) {
    const Checkpoint checkpoint = open_checkpoint(data_file("models/gpt2-plain"));
    const Source source(checkpoint, DType::f16);
    const kernels::BackendOptions cpu{.device = "cpu", .threads = 1, .instruction_set = {}};
    const auto runner_of = [&](int tokens, std::int32_t id) {
        const CalibrationSet set{
            .samples = 1, .tokens = tokens, .ids = std::vector<std::int32_t>(static_cast<std::size_t>(tokens), id)};
        const BlockRunner runner(source, set, cpu);
    };
    EXPECT_NO_THROW(runner_of(source.config().max_positions, 0));
    EXPECT_THROW(runner_of(source.config().max_positions + 1, 0), UsageError);
    EXPECT_THROW(runner_of(4, source.config().vocab), UsageError);
    EXPECT_THROW(runner_of(4, -1), UsageError);
}

TEST(Calibration, SamplesAreSpreadOverTheDocuments) {
    const Checkpoint checkpoint = open_checkpoint(data_file("models/llama-gqa-tied"));
    const ModelText text = load_model_text(checkpoint);
    ASSERT_TRUE(text.tokenizer);
    std::vector<std::string> documents;
    for (int i = 0; i < 40; ++i) documents.push_back("document " + std::to_string(i) + " with some words in it");
    const CalibrationSet set = calibration_set(*text.tokenizer, documents, 4, 16);
    EXPECT_EQ(set.ids.size(), 64u);
    const CalibrationSet first = calibration_set(*text.tokenizer, documents, 1, 16);
    EXPECT_TRUE(std::ranges::equal(first.ids, std::span(set.ids).first(16)));
    EXPECT_THROW(calibration_set(*text.tokenizer, documents, 1000, 512), UsageError);
}

TEST(Calibration, DocumentsComeFromTextAndFromJsonLines) {
    const ScratchFolder folder;
    const Path plain = folder.write("a.txt", "one\nparagraph\n\n\n  \n\nanother");
    const Path lines = folder.write("b.jsonl", "{\"text\": \"first\"}\n\n{\"text\": \" \"}\n{\"text\": \"second\", \"id\": 3}");
    const Path broken = folder.write("c.jsonl", "{\"text\": \"fine\"}\n{\"content\": \"x\"}\n");
    EXPECT_EQ(calibration_documents(std::array{plain, lines}),
              (std::vector<std::string>{"one\nparagraph", "another", "first", "second"}));
    try {
        calibration_documents(std::array{broken});
        FAIL();
    } catch (const BadFileError& e) {
        EXPECT_NE(std::string(e.what()).find("line 2"), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace narae::test
