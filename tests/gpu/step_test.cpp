// Steps on the card: recordings, dependent launches, and every CUDA call that fails.
#include "base/error.h"
#include "gpu/gpu.h"
#include "support/tiny_decoder.h"
#include "support/tolerance.h"

#include <random>

namespace narae::test {
namespace {

using kernels::Activations;
namespace cuda = kernels::cuda;

std::vector<std::vector<std::int32_t>> random_texts() {
    std::mt19937_64 random(12);
    std::vector<std::vector<std::int32_t>> texts(3, std::vector<std::int32_t>(150));
    for (auto& text : texts)
        for (std::int32_t& id : text) id = static_cast<std::int32_t>(random() % TinyDecoder::kVocab);
    return texts;
}

// Prompts, then single rows of one and of all sequences.
std::vector<std::vector<SequenceRows>> schedule() {
    std::vector<std::vector<SequenceRows>> steps = {{{0, 0, 70}, {1, 0, 3}, {2, 0, 33}}, {{0, 70, 5}}};
    for (int i = 0; i < 6; ++i) steps.push_back({{0, 75 + i, 1}});
    for (int i = 0; i < 6; ++i) steps.push_back({{0, 81 + i, 1}, {1, 3 + i, 1}, {2, 33 + i, 1}});
    return steps;
}

std::vector<float> run(kernels::Backend& backend, Activations activations) {
    TinyDecoder decoder(backend, activations);
    const auto texts = random_texts();
    std::vector<float> all;
    for (const auto& parts : schedule()) {
        const std::vector<float> logits = decoder.step(parts, texts);
        all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
}

class Steps : public Gpu {};

TEST_F(Steps, DependentLaunchesChangeNoBit) {
    for (const Activations activations : {Activations::f32, Activations::automatic}) {
        const auto dependent = open(), serial = open("serial");
        const std::vector<float> first = run(*dependent, activations);
        expect_same_bits(run(*serial, activations), first, "serial");
        for (int i = 0; i < 5; ++i) expect_same_bits(run(*dependent, activations), first, "again");
    }
}

TEST_F(Steps, TheRoundedPathStaysNearTheReference) {
    // bf16 activations: every product's inputs err by at most 2^-8; two layers' contributions are of the residual's own size.
    const auto backend = open();
    const std::vector<float> expected = run(reference(), Activations::f32), found = run(*backend, Activations::automatic);
    ASSERT_EQ(found.size(), expected.size());
    double squares = 0.0, differences = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        squares += std::pow(static_cast<double>(expected[i]), 2);
        differences += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    }
    EXPECT_LE(std::sqrt(differences / squares), 0x1p-6);
    EXPECT_GT(differences, 0.0);
}

TEST_F(Steps, ReplaysChooseTheSameTokens) {
    const auto backend = open();
    for (const Activations activations : {Activations::f32, Activations::automatic}) {
        TinyDecoder decoder(*backend, activations);
        const auto first = decoder.generate(5, 60);  // the first is run, the second recorded, the rest replayed
        TinyDecoder again(*backend, activations);
        const auto second = again.generate(5, 60);
        ASSERT_EQ(first.size(), second.size());
        for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].id, second[i].id) << i;
    }
}

TEST_F(Steps, EveryCallThatFailsIsAnError) {
    // How many calls a run makes, loading included.
    std::int64_t calls = 0;
    {
        const std::int64_t before = cuda::attempts();
        const auto backend = open();
        TinyDecoder decoder(*backend, Activations::automatic);
        decoder.generate(5, 4);
        calls = cuda::attempts() - before;
    }
    ASSERT_GT(calls, 100);
    for (std::int64_t k = 0; k < calls; k += 1 + calls / 400) {
        const cudaError_t error = k % 2 == 0 ? cudaErrorMemoryAllocation : cudaErrorLaunchFailure;
        cuda::fail_attempt(k, error);
        bool failed = false;
        try {
            const auto backend = open();
            TinyDecoder decoder(*backend, Activations::automatic);
            decoder.generate(5, 4);
        } catch (const Error& e) {
            failed = true;
            EXPECT_NE(std::string(e.what()).find(';'), std::string::npos) << e.what();  // what to try
        }
        cuda::fail_attempt(-1, cudaSuccess);
        EXPECT_TRUE(failed) << "call " << k;
    }
    const auto backend = open();
    TinyDecoder decoder(*backend, Activations::automatic);
    EXPECT_EQ(decoder.generate(5, 4).size(), 4u);
}

}  // namespace
}  // namespace narae::test
