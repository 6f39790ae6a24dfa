// The default model against transformers (float32 weights and activations) and against llama.cpp (its F32 copy, float32 keys
// and values). Goldens: tools/oracle/smollm2_logits.py and smollm2_greedy.py.
#include "base/json.h"
#include "engine/engine.h"
#include "engine/prompt_logits.h"
#include "support/support.h"
#include "tensor/npy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace narae::test {
namespace {

Model load_default(int context, int logit_rows) {
    LoadOptions options;
    options.backend.device = "auto";
    options.activations = kernels::Activations::f32;
    options.context = context;
    options.max_logit_rows = logit_rows;
    options.max_sequences = 8;
    return load_model(open_checkpoint(default_model()), options);
}

TEST(SmolLM2, logits_equal_transformers) {
    const Json golden = parse_json(read_text_file(data_file("goldens/smollm2/logits.json")), "logits.json");
    Model model = load_default(512, 64);
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    for (const Json& prompt : golden["prompts"]) {
        const std::string name = prompt["name"];
        const auto ids = prompt["ids"].get<std::vector<std::int32_t>>();
        const double tolerance = 1e-3 * prompt["deviation"].get<double>();
        const Path last = data_file("goldens/smollm2/last_" + name + ".npy");
        double worst = 0.0;
        std::size_t compared = 0;
        prompt_logits(model, ids, 0, [&](std::int64_t position, std::span<const float> logits) {
            for (const Json& entry : prompt["best"][static_cast<std::size_t>(position)]) {
                const auto id = entry[0].get<std::size_t>();
                worst = std::max(worst, std::abs(static_cast<double>(logits[id]) - entry[1].get<double>()));
                ++compared;
            }
            if (position + 1 == static_cast<std::int64_t>(ids.size()) && std::filesystem::exists(last)) {
                const NpyArray all = read_npy(last);
                ASSERT_EQ(all.as<float>().size(), vocab);
                for (std::size_t i = 0; i < vocab; ++i)
                    worst = std::max(worst, std::abs(static_cast<double>(logits[i]) - all.as<float>()[i]));
                compared += vocab;
            }
        });
        EXPECT_GE(compared, ids.size()) << name;
        EXPECT_LE(worst, tolerance) << name;
    }
}

TEST(SmolLM2, greedy_tokens_equal_transformers) {
    const Json golden = parse_json(read_text_file(data_file("goldens/smollm2/logits.json")), "logits.json");
    Model model = load_default(512, 8);
    Engine engine(model);
    std::map<RequestId, std::pair<std::string, std::vector<std::int32_t>>> expected;
    std::map<RequestId, std::vector<std::int32_t>> found;
    for (const Json& prompt : golden["prompts"]) {
        auto ids = prompt["greedy_ids"].get<std::vector<std::int32_t>>();
        Request request;
        request.prompt = prompt["ids"].get<std::vector<std::int32_t>>();
        request.sampling.temperature = 0.0f;
        request.max_tokens = static_cast<int>(ids.size());
        expected[engine.submit(std::move(request))] = {prompt["name"].get<std::string>(), std::move(ids)};
    }
    std::vector<Event> events;
    while (!engine.idle()) engine.step(events);
    for (const Event& event : events) found[event.request].push_back(event.token);
    EXPECT_GE(expected.size(), 2u);
    for (const auto& [request, answer] : expected) EXPECT_EQ(found[request], answer.second) << answer.first;
}

// Teacher forcing along llama.cpp's own answer: wherever its best two logits are more than 0.5 apart, ours has the same best.
TEST(SmolLM2, greedy_steps_agree_with_llama_cpp) {
    const Json golden = parse_json(read_text_file(data_file("goldens/smollm2/greedy_llamacpp.json")), "greedy_llamacpp.json");
    Model model = load_default(1024, 256);
    std::size_t steps = 0, compared = 0;
    ASSERT_GE(golden["prompts"].size(), 20u);
    for (const Json& prompt : golden["prompts"]) {
        auto ids = prompt["prompt_ids"].get<std::vector<std::int32_t>>();
        const std::size_t start = ids.size();
        const auto answer = prompt["ids"].get<std::vector<std::int32_t>>();
        const auto margins = prompt["margins"].get<std::vector<double>>();
        ids.insert(ids.end(), answer.begin(), answer.end() - 1);
        prompt_logits(model, ids, 0, [&](std::int64_t position, std::span<const float> logits) {
            const std::int64_t step = position - static_cast<std::int64_t>(start) + 1;
            if (step < 0) return;
            ++steps;
            if (margins[static_cast<std::size_t>(step)] <= 0.5) return;
            ++compared;
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            EXPECT_EQ(best, answer[static_cast<std::size_t>(step)]) << prompt["name"] << " step " << step;
        });
    }
    EXPECT_GE(static_cast<double>(compared), 0.6 * static_cast<double>(steps)) << compared << " of " << steps;
}

}  // namespace
}  // namespace narae::test
