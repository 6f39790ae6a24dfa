// A model one decoder block at a time: the hidden states of a whole calibration set on the host, and the weights of one block
// on the backend. What enters a linear can be watched on the way.
#pragma once

#include "base/function_ref.h"
#include "quant/calibration.h"
#include "quant/source.h"

#include <map>
#include <memory>
#include <span>
#include <vector>

namespace narae {

// The products of a block, in the order in which they are computed.
enum class Product : std::uint8_t { qkv, o, gate_up, down };
inline constexpr std::array kProducts = {Product::qkv, Product::o, Product::gate_up, Product::down};
// Slots of the weights that lie in a product: q, k, v (or qkv); o; gate, up; down. Those that the model has.
std::vector<const WeightSlot*> weights_of(const Source& source, int layer, Product product);

class BlockRunner {
public:
    // float32 activations. Embeds the set's tokens: hidden states are those that enter block 0. UsageError: an id outside the
    // vocabulary, samples longer than learned positions.
    BlockRunner(const Source& source, const CalibrationSet& set, const kernels::BackendOptions& options);

    // [samples * tokens, hidden], of what enters the block that is loaded next.
    std::vector<float>& hidden() { return hidden_; }

    // Norms and biases of a block, and its weights, one PackedWeight for each of weights_of(), in order.
    void load_block(int layer);
    void set_weights(Product product, std::span<const PackedWeight> weights);

    // Runs the whole set up to the inputs of a product, with the weights set so far for those before it, and calls
    // `seen` with rows [rows, in] of its inputs, in order. Before `gate_up` is watched the attention's half must be added.
    void watch(Product product, FunctionRef<void(std::span<const float>)> seen);
    // What the attention's half (up to o's output) or the MLP's (up to down's) adds to the hidden states, before a norm behind
    // it: rows [rows, hidden], in order.
    void attention_output(FunctionRef<void(std::span<const float>)> seen);
    void mlp_output(FunctionRef<void(std::span<const float>)> seen);
    // Adds the attention's half (qkv, o) or the MLP's (gate_up, down) to the hidden states.
    void add_attention();
    void add_mlp();

private:
    void run(FunctionRef<void(const kernels::Batch&)> steps, bool changes);
    void attention_up_to_o(const kernels::Batch& batch);

    const Source& source_;
    const CalibrationSet& set_;
    std::unique_ptr<kernels::Backend> backend_;
    kernels::Workspace workspace_;
    RotaryFrequencies frequencies_;
    kernels::Rope rope_;
    int samples_at_once_ = 1;
    std::vector<float> hidden_;

    int layer_ = -1;
    std::unique_ptr<kernels::KvStorage> kv_;
    int kv_window_ = -1;
    kernels::Norm attention_norm_, mlp_norm_;
    std::optional<kernels::Norm> q_norm_, k_norm_, post_attention_norm_, post_mlp_norm_;
    std::map<Product, std::unique_ptr<kernels::DeviceWeight>> weights_;
    std::map<Product, Tensor> biases_;
};

}  // namespace narae
