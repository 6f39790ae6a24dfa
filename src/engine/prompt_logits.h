// Logits at every position of a text, without sampling: for `logits`, goldens and evaluation.
#pragma once

#include "base/function_ref.h"
#include "model/model.h"

#include <cstdint>
#include <span>

namespace narae {

// Computes `ids` as one sequence in steps of at most `step` rows (0: the model's limits) and calls `row` with each position in
// order and its logits [vocab], valid during the call. The result does not depend on `step` (on the CPU to the bit).
// UsageError: no ids, an id outside the vocabulary, more ids than the model's context.
void prompt_logits(Model& model, std::span<const std::int32_t> ids, int step,
                   FunctionRef<void(std::int64_t, std::span<const float>)> row, const kernels::Observer* observer = nullptr);

}  // namespace narae
