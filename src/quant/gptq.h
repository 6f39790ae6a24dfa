// GPTQ (Frantar et al. 2022, arXiv:2210.17323): columns are rounded one after another, and what rounding a column costs is
// taken back by the columns that are still to come, as the inputs' second moments say.
#pragma once

#include "base/threads.h"
#include "formats/int_groups.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace narae {

struct GptqOptions {
    IntRounding rounding;        // of the groups; the rule "gptq" is the original's
    std::int64_t group = 128;    // columns that share a scale; 0: a whole row
    DType scales = DType::f16;   // as they are stored
    double damping = 0.01;       // of the mean of the Hessian's diagonal
    bool act_order = false;      // columns in falling order of their inputs' power (desc_act)
    bool static_groups = false;  // groups of neighbours, with scales of the weight as it was, also with act_order
};

struct GptqWeight {
    OwnedWeight weight;    // int2 ... int8; zeros unless symmetric; a group index where groups are not of neighbours
    double damping = 0.0;  // that was needed
    int dead = 0;          // inputs that were always zero; their weights became zero
};

// values [out, in], row-major; gram [in, in]: the sum of x x^T over the calibration's inputs (used up). Needs in % group == 0.
// BadFileError naming the weight: a value that is not finite. Raises the damping tenfold until the Hessian can be factored.
// Source of the order of operations: IST-DASLab/gptq, gptq.py, and AutoGPTQ; in float64 where they have float32.
GptqWeight gptq(const GptqOptions& options, std::vector<float> values, std::int64_t out, std::int64_t in,
                std::vector<double> gram, std::string name, ThreadPool& threads);

}  // namespace narae
