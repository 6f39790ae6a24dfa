// Whole steps: batch invariance, slots, tickets, and the backend that fails.
#include "base/error.h"
#include "support/faulty_backend.h"
#include "support/tested_devices.h"
#include "support/tiny_decoder.h"
#include "support/tolerance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace narae::test {
namespace {

using kernels::Activations;

std::vector<std::vector<std::int32_t>> random_texts() {
    std::mt19937_64 random(12);
    std::vector<std::vector<std::int32_t>> texts;
    for (const std::size_t length : {150u, 83u, 65u}) {
        std::vector<std::int32_t>& text = texts.emplace_back(length);
        for (std::int32_t& id : text) id = static_cast<std::int32_t>(random() % TinyDecoder::kVocab);
    }
    return texts;
}

using Schedule = std::vector<std::vector<SequenceRows>>;  // the parts of each step

std::vector<Schedule> schedules(const std::vector<std::vector<std::int32_t>>& texts) {
    const auto length = [&](std::int32_t s) { return static_cast<std::int32_t>(texts[static_cast<std::size_t>(s)].size()); };
    Schedule alone, together = {{}}, decoded, mixed;
    for (std::int32_t s = 0; s < 3; ++s) {
        alone.push_back({{s, 0, length(s)}});
        together[0].push_back({s, 0, length(s)});
        decoded.push_back({{s, 0, length(s) - 20}});
        for (std::int32_t i = length(s) - 20; i < length(s); ++i) decoded.push_back({{s, i, 1}});
    }
    std::array<std::int32_t, 3> done = {0, 0, 0};
    std::mt19937_64 random(4);
    for (bool more = true; more;) {  // ragged chunks of all, in changing order, one row at a time near the end
        more = false;
        std::vector<SequenceRows> parts;
        for (const std::int32_t s : {2, 0, 1}) {
            std::int32_t& begin = done[static_cast<std::size_t>(s)];
            const std::int32_t left = length(s) - begin;
            if (left == 0) continue;
            const std::int32_t rows = left < 8 ? 1 : std::min(left, static_cast<std::int32_t>(random() % 40) + 1);
            parts.push_back({s, begin, rows});
            begin += rows;
            more = true;
        }
        if (more) mixed.push_back(parts);
    }
    return {alone, together, mixed, decoded};
}

// Logits of every position of every sequence, however they were batched.
std::vector<float> run(TinyDecoder& decoder, const Schedule& schedule, const std::vector<std::vector<std::int32_t>>& texts) {
    std::array<std::vector<float>, 3> logits;
    for (const std::vector<SequenceRows>& parts : schedule) {
        const std::vector<float> found = decoder.step(parts, texts);
        std::size_t row = 0;
        for (const SequenceRows& part : parts) {
            const auto count = static_cast<std::size_t>(part.rows * TinyDecoder::kVocab);
            const auto begin = found.begin() + static_cast<std::ptrdiff_t>(row);
            std::vector<float>& of_sequence = logits[static_cast<std::size_t>(part.sequence)];
            of_sequence.insert(of_sequence.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
            row += count;
        }
    }
    std::vector<float> all;
    for (const std::vector<float>& of_sequence : logits) all.insert(all.end(), of_sequence.begin(), of_sequence.end());
    return all;
}

TEST(StepConformance, LogitsDoNotDependOnTheBatch) {
    const auto texts = random_texts();
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        std::map<std::string, std::vector<float>> first;
        for (TestedDevice& device : tested_devices()) {
            if (!device.invariant) continue;
            TinyDecoder decoder(*device.backend, activations);
            const std::vector<Schedule> all = schedules(texts);
            for (std::size_t i = 0; i < all.size(); ++i) {
                const std::vector<float> logits = run(decoder, all[i], texts);
                if (!first.contains(device.group)) first[device.group] = logits;
                expect_same_bits(logits, first[device.group], fmt::format("{}: schedule {}", device.name, i));
                if (HasFailure()) return;
            }
        }
        if (activations == Activations::automatic) continue;  // may round activations that the reference does not
        // Differences in the last bit of f32 flip roundings to coarser types, at worst all of them: f16 keys and values move by
        // a step, 2^-10 of their size; int8 codes by a step, 1 / 127 of their block's largest, which is at most sqrt(32) times
        // the block's root mean square. The two layers' contributions are of the residual's own size.
        const double step = activations == Activations::int8 ? std::sqrt(32.0) / 127.0 : 0x1p-10;
        for (const auto& [group, logits] : first) {
            double squares = 0.0, differences = 0.0;
            for (std::size_t i = 0; i < logits.size(); ++i) {
                squares += std::pow(static_cast<double>(first["ref"][i]), 2);
                differences += std::pow(static_cast<double>(logits[i]) - static_cast<double>(first["ref"][i]), 2);
            }
            EXPECT_LE(std::sqrt(differences / squares), step) << group;
        }
    }
}

TEST(StepConformance, ASampledTokenIsReadFromItsSlot) {
    for (TestedDevice& device : tested_devices()) {
        TinyDecoder decoder(*device.backend, Activations::f32);
        const std::vector<kernels::Sampled> chosen = decoder.generate(5, 20);
        ASSERT_EQ(chosen.size(), 20u);
        std::vector<std::vector<std::int32_t>> texts = {{5}};
        for (const kernels::Sampled& sampled : chosen) {
            EXPECT_TRUE(sampled.finite);
            texts[0].push_back(sampled.id);
        }
        TinyDecoder again(*device.backend, Activations::f32);
        const std::vector<SequenceRows> whole = {{0, 0, 20}};
        const std::vector<float> logits = again.step(whole, texts);
        for (std::size_t i = 0; i < 20; ++i) {
            const auto row = std::span(logits).subspan(i * TinyDecoder::kVocab, TinyDecoder::kVocab);
            EXPECT_EQ(std::ranges::max_element(row) - row.begin(), chosen[i].id) << device.name << ", token " << i;
        }
    }
}

TEST(StepConformance, TicketsAreAnsweredOneStepLate) {
    for (TestedDevice& device : tested_devices()) {
        kernels::Backend& backend = *device.backend;
        kernels::SamplingParameters greedy;
        greedy.temperature = 0.0f;
        kernels::SamplingRow row;
        row.parameters = &greedy;
        const std::vector<kernels::SamplingRow> rows = {row, row};
        const std::vector<std::int32_t> slots = {0, 1};
        std::vector<kernels::Ticket> tickets;
        for (int i = 0; i < 6; ++i) {
            std::vector<float> values(20, 0.0f);
            values[static_cast<std::size_t>(i)] = 1.0f;
            values[static_cast<std::size_t>(10 + 9 - i)] = 1.0f;
            const Guarded logits(device, 2, 10, values);
            tickets.push_back(backend.step(3, [&] { backend.sample(logits.tensor(), rows, slots); }));
            if (i == 0) continue;
            const auto sampled = backend.wait(tickets[static_cast<std::size_t>(i - 1)]);
            ASSERT_EQ(sampled.size(), 2u) << device.name;
            EXPECT_EQ(sampled[0].id, i - 1) << device.name;
            EXPECT_EQ(sampled[1].id, 9 - (i - 1)) << device.name;
        }
        EXPECT_EQ(backend.wait(tickets.back())[0].id, 5) << device.name;
    }
}

TEST(FaultyBackend, FailsOrPoisonsTheCallThatATestNames) {
    FaultyBackend faulty(reference());
    TinyDecoder decoder(faulty, Activations::f32);
    const auto texts = random_texts();
    const std::vector<SequenceRows> parts = {{0, 0, 3}};
    faulty.arm(-1, Fault::fail);
    const std::vector<float> expected = decoder.step(parts, texts);
    const std::int64_t calls = faulty.calls();
    EXPECT_EQ(calls, 1 + 2 + TinyDecoder::kLayers * 5 + 1);  // reserve_blocks, embed, rope_table, layers, logits
    for (std::int64_t at = 0; at < calls; ++at) {
        faulty.arm(at, Fault::fail);
        EXPECT_THROW(decoder.step(parts, texts), InternalError) << at;
        faulty.arm(at, Fault::exhaust);
        EXPECT_THROW(decoder.step(parts, texts), ResourceError) << at;
        faulty.arm(at, Fault::poison);
        const std::vector<float> poisoned = decoder.step(parts, texts);
        EXPECT_EQ(std::ranges::any_of(poisoned, [](float x) { return std::isnan(x); }), at != 0) << at;
        faulty.disarm();
        expect_same_bits(decoder.step(parts, texts), expected, fmt::format("after fault {}", at));
    }
}

TEST(FaultyBackend, APoisonedRowIsReportedBySampling) {
    FaultyBackend faulty(reference());
    TinyDecoder decoder(faulty, Activations::f32);
    faulty.arm(2 + TinyDecoder::kLayers * 5 + 1, Fault::poison);  // logits, after reserve_blocks
    const std::vector<kernels::Sampled> chosen = decoder.generate(1, 2);
    ASSERT_EQ(chosen.size(), 2u);
    EXPECT_FALSE(chosen[0].finite);
    EXPECT_TRUE(chosen[1].finite);
}

}  // namespace
}  // namespace narae::test
