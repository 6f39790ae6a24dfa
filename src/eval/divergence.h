// The KL divergence of a model's next-token distribution from a base's, token by token, for windows cut as llama.cpp-512 says.
// The base is another model in this process (exact logits) or a file of base logits (16-bit, as llama.cpp uses it).
#pragma once

#include "base/threads.h"
#include "eval/logits_file.h"
#include "eval/perplexity.h"
#include "eval/statistics.h"

#include <cstdint>
#include <span>
#include <vector>

namespace narae::eval {

// Appends a comparison for each target of the windows. `base_rows`, where given, sees the base's rows in order.
void compare_with_model(WindowLogits& logits, WindowLogits& base, ThreadPool& threads, std::span<const std::int32_t> ids,
                        std::span<const Window> windows, std::int32_t bos, std::vector<TokenComparison>& tokens,
                        const RowSink* base_rows = nullptr);

// The same with a file: `windows` are those of the file from `first` on.
void compare_with_file(WindowLogits& logits, const LogitsFile& base, ThreadPool& threads, std::span<const Window> windows,
                       std::int64_t first, std::int32_t bos, std::vector<TokenComparison>& tokens);

}  // namespace narae::eval
