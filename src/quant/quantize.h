// The driver: a model, a recipe, a folder. Block by block, with one block's weights and the calibration set's hidden states in
// memory. What is finished lies in OUT.quantizing, so that a run that was killed goes on where it was; OUT appears whole, at
// the end.
#pragma once

#include "checkpoint/quantized_layout.h"
#include "formats/int_groups.h"
#include "kernels/backend.h"
#include "quant/calibration.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace narae {

// Three axes, apart: who chooses the codes, what codes mean, how they are stored.
struct Recipe {
    std::string method = "rtn";  // rtn, gptq, awq
    std::string format = "int4";
    std::string layout = "gptq", variant;  // an empty variant: the layout's first

    std::int64_t group = 128;  // columns that share a scale; 0: a whole row
    bool symmetric = false;
    bool double_quantization = false;  // nf4, fp4
    double damping = 0.01;             // gptq, with the next three
    bool act_order = false, static_groups = false, true_sequential = true;
    DType model = DType::f16;          // of what is not quantized
    std::vector<std::string> ignored;  // modules that stay as they are: names, parts of names, or re:PATTERN
    int samples = 128, tokens = 512;   // of calibration
};

// What happened to one linear.
struct QuantizedLinear {
    std::string module;
    std::int64_t out = 0, in = 0;
    std::string format;  // of what was written
    double bits = 0.0;   // a weight
    // Square error of outputs over the calibration set, relative to the outputs' own: of rounding to the nearest, and of what
    // was written. Without calibration: of the weight itself.
    double error_nearest = 0.0, error = 0.0;
    std::string note;  // what a user should know: why it stayed, a damping that was raised
};

struct QuantizeProgress {
    int block = 0, blocks = 0;
    std::string module;
};

struct QuantizeResult {
    std::vector<QuantizedLinear> linears;
    int resumed_blocks = 0;  // that an earlier run had finished
};

// UsageError: a recipe that cannot be (names the nearest that can), an OUT that exists, an OUT.quantizing of another recipe or
// model. BadFileError: weights that are not finite, named. `documents`: texts of the calibration, for methods that need one.
// Saving leaves nothing when it fails; OUT.quantizing stays for the next try. `progress` may throw.
QuantizeResult quantize(const Checkpoint& checkpoint, const Recipe& recipe, std::span<const std::string> documents,
                        const Path& out, const kernels::BackendOptions& backend,
                        const std::function<void(const QuantizeProgress&)>& progress);

// Why a recipe cannot be, as a sentence; empty: it can.
std::string why_not(const Recipe& recipe);
bool needs_calibration(const Recipe& recipe);

}  // namespace narae
