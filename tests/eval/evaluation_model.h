// The small Llama of tests/data with its tokenizer, loaded for windows.
#pragma once

#include "checkpoint/text_files.h"
#include "eval/window_logits.h"
#include "model/model.h"
#include "support/support.h"
#include "text/tokenizer.h"

namespace narae::test {

inline Path small_model_path() { return data_file("models/llama-gqa-tied"); }

// rows, sequences, logit_rows: of a step, as eval::WindowLimits.
inline Model load_small_model(int context, eval::WindowLimits limits, const char* instruction_set = "",
                              kernels::Activations activations = kernels::Activations::f32) {
    LoadOptions options;
    options.backend = {"cpu", 2, instruction_set};
    options.activations = activations;
    options.context = context;
    options.max_rows = limits.rows;
    options.max_sequences = limits.sequences;
    options.max_logit_rows = limits.logit_rows;
    options.progress = false;
    return load_model(open_checkpoint(small_model_path()), options);
}

}  // namespace narae::test
