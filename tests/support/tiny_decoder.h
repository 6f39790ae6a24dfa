// Two layers of a Llama-like model with random weights over any backend: enough for tests of whole steps without a model file.
#pragma once

#include "support/random_weights.h"
#include "support/tested_devices.h"

#include <span>
#include <vector>

namespace narae::test {

class TinyDecoder {
public:
    static constexpr int kVocab = 101, kHidden = 128, kHeads = 4, kKvHeads = 2, kHeadDim = 32, kFfn = 160, kLayers = 2;
    static constexpr int kSequences = 3, kBlocksEach = 3;

    TinyDecoder(kernels::Backend& backend, kernels::Activations activations);
    TinyDecoder(const TinyDecoder&) = delete;

    // Computes the rows of `parts`; ids[s] is the whole text of sequence s. Logits [rows, vocab] of all rows.
    std::vector<float> step(std::span<const SequenceRows> parts, std::span<const std::vector<std::int32_t>> ids);

    // Decodes greedily with the token that stays in the slot: the first row reads `first`, the later ones the slot.
    std::vector<kernels::Sampled> generate(std::int32_t first, int tokens);

private:
    struct Layer {
        std::unique_ptr<kernels::DeviceWeight> qkv, out, gate_up, down;
    };
    using Formats = std::initializer_list<std::pair<const char*, std::int64_t>>;  // and how many rows
    std::vector<PackedWeight> random_parts(Formats parts, std::int64_t in);
    std::unique_ptr<kernels::DeviceWeight> prepare(Formats parts, std::int64_t in, kernels::Fuse fuse,
                                                   kernels::Activations activations);
    std::unique_ptr<kernels::DeviceWeight> prepare_qkv(Formats parts, kernels::Activations activations);
    void forward(const kernels::Batch& batch);

    kernels::Backend& backend_;
    std::vector<OwnedWeight> owned_;
    std::unique_ptr<kernels::DeviceWeight> embedding_, head_;
    std::vector<Layer> layers_;
    kernels::Norm norm_;
    std::unique_ptr<kernels::KvStorage> kv_;
    kernels::Workspace workspace_;
    std::vector<float> inv_freq_;
};

}  // namespace narae::test
