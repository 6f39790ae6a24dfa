// Every device chooses the tokens of the definition, sample_token(), bit for bit.
#include "support/tested_devices.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace narae::test {
namespace {

using kernels::Sampled;
using kernels::SamplingParameters;
using kernels::SamplingRow;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t below(std::size_t n) { return engine_() % n; }
    bool one_in(std::size_t n) { return below(n) == 0; }
    float uniform() { return std::uniform_real_distribution<float>(0.02f, 0.98f)(engine_); }
    float normal(float deviation) { return std::normal_distribution<float>(0.0f, deviation)(engine_); }
    std::uint64_t word() { return engine_(); }
    template <std::size_t kCount>
    float of(const std::array<float, kCount>& values) {
        return values[below(kCount)];
    }

private:
    std::mt19937_64 engine_;
};

// A row with all that it views.
struct Case {
    std::vector<float> logits;
    SamplingParameters parameters;
    std::vector<std::int32_t> prompt, output;
    std::vector<std::uint32_t> allowed;
    std::int64_t position = 0;

    SamplingRow row() const { return {&parameters, position, prompt, output, allowed}; }
    std::string to_string() const {
        const SamplingParameters& p = parameters;
        return fmt::format(
            "{} logits, temperature {}, top_k {}, top_p {}, min_p {}, typical_p {}, penalties {} {} {}, {} biases, "
            "prompt of {}, output of {}, mask of {} words",
            logits.size(), p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p, p.repetition_penalty, p.frequency_penalty,
            p.presence_penalty, p.logit_bias.size(), prompt.size(), output.size(), allowed.size());
    }
};

std::vector<float> random_logits(std::size_t vocab, Random& random) {
    constexpr std::array<float, 6> kDeviations = {3.0f, 3.0f, 3.0f, 1e-30f, 0.01f, 60.0f};
    const float deviation = random.of(kDeviations);
    std::vector<float> logits(vocab);
    for (float& logit : logits) logit = random.normal(deviation);
    if (random.one_in(3))  // ties, zeros of both signs, all of them equal
        for (float& logit : logits) logit = std::round(logit * 4.0f) / 4.0f;
    if (random.one_in(6))
        for (float& logit : logits) logit = random.one_in(2) ? logit : -kInfinity;
    if (random.one_in(12)) logits[random.below(vocab)] = std::numeric_limits<float>::lowest();
    if (random.one_in(12)) logits[random.below(vocab)] = std::numeric_limits<float>::max();
    if (random.one_in(12)) logits[random.below(vocab)] = std::numeric_limits<float>::denorm_min();
    if (random.one_in(24)) logits[random.below(vocab)] = random.one_in(2) ? kNan : kInfinity;
    if (random.one_in(48)) std::ranges::fill(logits, -kInfinity);
    return logits;
}

void randomize_truncation(SamplingParameters& p, std::size_t vocab, Random& random) {
    constexpr std::array<float, 8> kTemperatures = {1.0f, 1.0f, 1.0f, 0.01f, 1e-30f, 100.0f, 1e30f, 1e-44f};
    p.temperature = random.one_in(6) ? 0.0f : random.one_in(2) ? 0.2f + 2.0f * random.uniform() : random.of(kTemperatures);
    if (random.one_in(2)) p.top_k = 1 + static_cast<int>(random.below(random.one_in(2) ? vocab + 3 : 100));
    if (random.one_in(2)) p.top_p = random.one_in(4) ? random.of(std::array{1e-9f, 0.999f, 0x1.fffffep-1f}) : random.uniform();
    if (random.one_in(3)) p.min_p = random.one_in(4) ? random.of(std::array{1e-12f, 1e-42f, 0.999f}) : 0.3f * random.uniform();
    if (random.one_in(4)) p.typical_p = random.uniform();
}

void randomize_changes(Case& c, Random& random) {
    const std::size_t vocab = c.logits.size();
    SamplingParameters& p = c.parameters;
    if (random.one_in(3)) p.repetition_penalty = random.one_in(8) ? 1e-38f : 0.5f + random.uniform();
    if (random.one_in(3)) p.frequency_penalty = 2.0f * random.uniform() - 1.0f;
    if (random.one_in(3)) p.presence_penalty = 2.0f * random.uniform() - 1.0f;
    const auto id = [&] {
        return static_cast<std::int32_t>(random.below(random.one_in(2) ? vocab : std::min<std::size_t>(vocab, 9)));
    };
    const auto history = [&](std::vector<std::int32_t>& ids) {
        for (std::size_t i = random.below(random.one_in(4) ? 3000 : 20); i > 0; --i) ids.push_back(id());
        if (random.one_in(4)) ids.insert(ids.end(), {-1, static_cast<std::int32_t>(vocab)});  // not in the vocabulary
    };
    history(c.prompt);
    history(c.output);
    if (random.one_in(3))
        for (std::size_t i = random.below(random.one_in(4) ? 300 : 5); i > 0; --i)
            p.logit_bias.emplace_back(id(), random.one_in(8) ? 100.0f : 4.0f * random.uniform() - 2.0f);
    if (random.one_in(3)) {
        c.allowed.assign((vocab + 31) / 32, 0);
        if (random.one_in(2))
            for (std::uint32_t& word : c.allowed) word = static_cast<std::uint32_t>(random.word());
        const std::size_t sure = random.below(vocab);
        if (!random.one_in(8)) c.allowed[sure / 32] |= 1u << (sure % 32);
    }
}

Case random_case(std::size_t vocab, Random& random) {
    Case c;
    c.logits = random_logits(vocab, random);
    randomize_truncation(c.parameters, vocab, random);
    if (random.one_in(2)) randomize_changes(c, random);
    c.parameters.seed = random.word();
    c.parameters.choice = static_cast<std::uint32_t>(random.below(3));
    c.position = static_cast<std::int64_t>(random.word() >> (1 + random.below(60)));
    return c;
}

std::vector<Case> random_cases(std::size_t rows, std::size_t vocab, Random& random) {
    std::vector<Case> cases;
    while (cases.size() < rows) cases.push_back(random_case(vocab, random));
    return cases;
}

std::vector<float> logits_of(const std::vector<Case>& cases) {
    std::vector<float> all;
    for (const Case& c : cases) all.insert(all.end(), c.logits.begin(), c.logits.end());
    return all;
}

std::vector<SamplingRow> rows_of(const std::vector<Case>& cases) {
    std::vector<SamplingRow> rows;
    for (const Case& c : cases) rows.push_back(c.row());
    return rows;
}

std::vector<Sampled> expected_of(const std::vector<Case>& cases) {
    std::vector<Sampled> expected;
    for (const Case& c : cases) expected.push_back(sample_token(c.logits, c.row()));
    return expected;
}

std::vector<std::int32_t> slots_of(const std::vector<Case>& cases) {
    std::vector<std::int32_t> slots;
    for (std::size_t i = 0; i < cases.size(); ++i) slots.push_back(static_cast<std::int32_t>(cases.size() - 1 - i));
    return slots;
}

kernels::StepKey next_key() {  // of a shape that no step had before
    static kernels::StepKey key = 1u << 20;
    return ++key;
}

void expect_chosen(std::span<const Sampled> found, const std::vector<Case>& cases, const std::vector<Sampled>& expected,
                   const TestedDevice& device) {
    ASSERT_EQ(found.size(), expected.size()) << device.name;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(found[i].finite, expected[i].finite) << device.name << ", row " << i << ": " << cases[i].to_string();
        ASSERT_EQ(found[i].id, expected[i].id) << device.name << ", row " << i << ": " << cases[i].to_string();
    }
}

void expect_chosen_everywhere(const std::vector<Case>& cases) {
    const std::vector<Sampled> expected = expected_of(cases);
    const std::vector<float> values = logits_of(cases);
    const std::vector<SamplingRow> rows = rows_of(cases);
    const std::vector<std::int32_t> slots = slots_of(cases);
    const auto vocab = static_cast<std::int64_t>(cases.front().logits.size());
    for (TestedDevice& device : tested_devices()) {
        const Guarded logits(device, static_cast<std::int64_t>(cases.size()), vocab, values);
        auto& backend = *device.backend;
        const kernels::Ticket ticket = backend.step(next_key(), [&] { backend.sample(logits.tensor(), rows, slots); });
        expect_chosen(backend.wait(ticket), cases, expected, device);
    }
}

TEST(SamplingConformance, RandomRowsOfEverySize) {
    struct Size {
        std::size_t vocab, cases;
    };
    Random random(21);
    for (const Size size :
         {Size{1, 20}, Size{2, 40}, Size{33, 120}, Size{1000, 120}, Size{2049, 30}, Size{49152, 12}, Size{128256, 12}})
        for (std::size_t i = 0; i < size.cases; ++i) {
            expect_chosen_everywhere(random_cases(1 + random.below(4), size.vocab, random));
            if (HasFatalFailure()) return;
        }
}

// What serving asks for, at a large vocabulary with many positions each.
TEST(SamplingConformance, CommonParametersAtALargeVocabulary) {
    Random random(22);
    std::vector<Case> cases;
    for (const float deviation : {2.0f, 4.0f})
        for (const auto& [temperature, top_k, top_p, min_p] : {std::tuple{0.0f, 0, 1.0f, 0.0f},
                                                               {1.0f, 0, 1.0f, 0.0f},
                                                               {0.7f, 50, 0.9f, 0.0f},
                                                               {0.8f, 40, 0.95f, 0.05f},
                                                               {1.0f, 0, 0.9f, 0.0f},
                                                               {2.0f, 0, 0.99f, 0.0f},
                                                               {1.0f, 20000, 0.5f, 0.0f},
                                                               {1.5f, 0, 1.0f, 0.1f}}) {
            Case& c = cases.emplace_back();
            c.logits.resize(128256);
            for (float& logit : c.logits) logit = random.normal(deviation);
            c.parameters.temperature = temperature;
            c.parameters.top_k = top_k;
            c.parameters.top_p = top_p;
            c.parameters.min_p = min_p;
        }
    for (int position = 0; position < 3; ++position) {
        for (Case& c : cases) c.position = position;
        expect_chosen_everywhere(cases);
        if (HasFatalFailure()) return;
    }
}

TEST(SamplingConformance, ManyRowsWithLongHistories) {
    Random random(23);
    std::vector<Case> cases = random_cases(130, 3000, random);
    for (Case& c : cases) {
        c.parameters.repetition_penalty = 1.1f;
        for (int i = 0; i < 4000; ++i) c.prompt.push_back(static_cast<std::int32_t>(random.below(3000)));
    }
    expect_chosen_everywhere(cases);
}

// A recording, where the device makes one, takes the parameters of every step.
TEST(SamplingConformance, AStepMayBeRepeatedWithOtherParameters) {
    for (const std::size_t vocab : {50u, 5000u}) {
        Random random(24);
        constexpr std::size_t kSteps = 10, kRows = 3;
        std::vector<std::vector<Case>> steps;
        std::vector<std::vector<Sampled>> expected;
        for (std::size_t i = 0; i < kSteps; ++i) {
            std::vector<Case> cases = random_cases(kRows, vocab, random);
            for (std::size_t row = 0; i > 0 && row < kRows; ++row) cases[row].logits = steps[0][row].logits;
            expected.push_back(expected_of(cases));
            steps.push_back(std::move(cases));
        }
        const kernels::StepKey key = next_key();
        for (TestedDevice& device : tested_devices()) {
            auto& backend = *device.backend;
            const Guarded logits(device, kRows, static_cast<std::int64_t>(vocab), logits_of(steps[0]));
            std::vector<kernels::Ticket> tickets;
            for (std::size_t i = 0; i < kSteps; ++i) {
                const std::vector<SamplingRow> rows = rows_of(steps[i]);
                const std::vector<std::int32_t> slots = slots_of(steps[i]);
                tickets.push_back(backend.step(key, [&] { backend.sample(logits.tensor(), rows, slots); }));
                if (i == 0) continue;
                expect_chosen(backend.wait(tickets[i - 1]), steps[i - 1], expected[i - 1], device);
                if (HasFatalFailure()) return;
            }
            expect_chosen(backend.wait(tickets.back()), steps.back(), expected.back(), device);
        }
    }
}

}  // namespace
}  // namespace narae::test
