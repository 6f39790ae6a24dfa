// Layouts of quantized weights in Hugging Face folders, as bitsandbytes, AutoAWQ, GPTQ, compressed-tensors and transformers'
// fp8 have them: which tensors one weight in canonical form becomes, and what config.json then says. A layout is one file in
// this folder, registered by a RegisterQuantizedLayout object; the same file registers the Layout that reads such folders.
#pragma once

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "formats/format.h"
#include "tensor/tensor.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narae {

// One tensor of a file.
struct TensorToWrite {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    Buffer bytes;
};

// How engines round the inputs of quantized products; the weights are the same.
enum class ActivationScheme : std::uint8_t {
    none,     // not at all
    dynamic,  // scales found while running: of each token, or of each group of a token where weights have blocks
    fixed,    // one stored scale: <module>.input_scale
};

// What all quantized weights of a model have in common.
struct QuantizationSummary {
    std::string method;              // who chose the codes: "rtn", "gptq", "awq", "nf4", ...
    std::string variant;             // of the layout
    const Format* format = nullptr;  // with `scaling` and `symmetric`, of the quantized weights
    Scaling scaling;
    bool symmetric = true;  // no zero points
    bool act_order = false;
    bool static_groups = false;
    bool true_sequential = true;
    double damp_percent = 0.01;
    DType model_dtype = DType::f16;
    ActivationScheme activations = ActivationScheme::none;
    std::vector<std::string> unquantized;  // linear modules that stayed as they were ("lm_head")
};

struct QuantizedLayout {
    std::string_view name;                            // "bnb", "awq", "gptq", "compressed-tensors", "fp8"
    std::span<const std::string_view> variants = {};  // "gemm", "gemv", ...; the first is the default. Empty: there is one, ""

    // Why the layout cannot hold a weight like this, as a sentence; nullopt: it can. Looks at format, shape, scaling and which
    // buffers there are; they may be empty.
    std::optional<std::string> (*refuses)(const PackedWeight& weight, std::string_view variant) = nullptr;

    // The tensors of one weight that is not refused, named after its module ("model.layers.0.mlp.up_proj"), in a model of type
    // f16 or bf16. BadFileError where only the numbers show that the layout cannot hold them.
    std::vector<TensorToWrite> (*tensors)(const PackedWeight& weight, std::string_view module, DType model_dtype,
                                          std::string_view variant) = nullptr;

    // "quantization_config" of config.json.
    Json (*config)(const QuantizationSummary& summary) = nullptr;
    // Further text files that programs look for beside it: name and contents. nullptr: none.
    std::vector<std::pair<std::string, std::string>> (*files)(const QuantizationSummary& summary) = nullptr;
};

std::span<const QuantizedLayout* const> quantized_layouts();          // sorted by name
const QuantizedLayout* find_quantized_layout(std::string_view name);  // nullptr when unknown
struct RegisterQuantizedLayout {
    explicit RegisterQuantizedLayout(const QuantizedLayout& layout);  // `layout` must live as long as the program
};

// Saves a tensor that is already made. Its bytes are written once and freed then.
WeightToSave tensor_to_save(TensorToWrite tensor);

}  // namespace narae
