// Whole models against transformers: every small checkpoint in tests/data/models, made by tools/oracle, on every device.
#include "base/json.h"
#include "engine/engine.h"
#include "engine/prompt_logits.h"
#include "support/support.h"
#include "tensor/npy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace narae::test {
namespace {

struct Case {
    std::string folder, device, instruction_set;
};
void PrintTo(const Case& item, std::ostream* out) {
    *out << item.folder << " on " << item.device << " " << item.instruction_set;
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const Path& folder : file_system().list(data_file("models"))) {
        if (!file_system().is_file(folder / "golden.json")) continue;
        all.push_back({folder.filename().string(), "ref", ""});
        all.push_back({folder.filename().string(), "cpu", ""});
        all.push_back({folder.filename().string(), "cpu", "generic"});
        for (const kernels::DeviceInfo& device : kernels::devices())
            if (device.usable && device.name.starts_with("cuda:0"))
                all.push_back({folder.filename().string(), device.name, ""});
    }
    return all;
}

Path model_path(const Path& folder) {
    for (const Path& file : file_system().list(folder))
        if (file.extension() == ".gguf") return file;
    return folder;
}

class Golden : public testing::TestWithParam<Case> {
protected:
    Path folder = data_file("models") / GetParam().folder;
    Json golden = parse_json(read_text_file(folder / "golden.json"), "golden.json");
    std::vector<std::int32_t> prompt = golden["prompt_ids"].get<std::vector<std::int32_t>>();

    Model load(int context) const {
        LoadOptions options;
        options.backend.device = GetParam().device;
        options.backend.instruction_set = GetParam().instruction_set;
        options.backend.threads = 2;
        options.activations = kernels::Activations::f32;
        options.context = context;
        options.max_logit_rows = 512;
        return load_model(open_checkpoint(model_path(folder)), options);
    }
};

TEST_P(Golden, logits_equal_transformers) {
    const NpyArray expected = read_npy(folder / "logits.npy");
    const auto values = expected.as<float>();
    double sum = 0.0, squares = 0.0;
    for (float v : values) sum += v, squares += static_cast<double>(v) * v;
    const double n = static_cast<double>(values.size()), deviation = std::sqrt(squares / n - sum / n * (sum / n));

    Model model = load(static_cast<int>(prompt.size()));
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    ASSERT_EQ(values.size(), prompt.size() * vocab);
    for (int step : {0, 1, 5}) {
        double worst = 0.0;
        prompt_logits(model, prompt, step, [&](std::int64_t position, std::span<const float> logits) {
            for (std::size_t i = 0; i < vocab; ++i)
                worst = std::max(
                    worst, std::abs(static_cast<double>(logits[i]) - values[static_cast<std::size_t>(position) * vocab + i]));
        });
        EXPECT_LE(worst, 1e-3 * deviation) << "step " << step;
    }
}

TEST_P(Golden, greedy_tokens_equal_transformers) {
    // Dynamic scaling in transformers changes the frequencies while it generates; narae fixes them, so there is nothing to
    // compare.
    if (golden["greedy_ids"].is_null()) return;
    const auto expected = golden["greedy_ids"].get<std::vector<std::int32_t>>();
    Model model = load(static_cast<int>(prompt.size() + expected.size()));
    Engine engine(model);
    Request request;
    request.prompt = prompt;
    request.sampling.temperature = 0.0f;
    request.max_tokens = static_cast<int>(expected.size());
    engine.submit(request);
    std::vector<Event> events;
    while (!engine.idle()) engine.step(events);
    engine.check_integrity();
    std::vector<std::int32_t> ids;
    for (const Event& event : events) ids.push_back(event.token);
    EXPECT_EQ(ids, expected);
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(cases()), [](const auto& item) {
    std::string name = item.param.folder + "_" + item.param.device + "_" + item.param.instruction_set;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
    return name;
});

}  // namespace
}  // namespace narae::test
