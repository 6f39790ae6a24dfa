#include "eval/perplexity.h"

#include "base/error.h"

#include <cmath>

namespace narae::eval {

Perplexity perplexity_of(std::span<const Window> windows, std::span<const double> nll) {
    Perplexity result;
    double sum = 0.0, weights = 0.0;
    std::size_t at = 0;
    for (const Window& window : windows) {
        const auto targets = static_cast<std::size_t>(window.targets());
        NARAE_CHECK(at + targets <= nll.size(), "{} values of more tokens", nll.size());
        double window_sum = 0.0;
        for (const double value : nll.subspan(at, targets)) window_sum += value;
        sum += window.weight / static_cast<double>(targets) * window_sum;
        weights += window.weight;
        at += targets;
    }
    NARAE_CHECK(at == nll.size(), "{} values of {} tokens", nll.size(), at);
    result.windows = static_cast<std::int64_t>(windows.size());
    result.tokens = static_cast<std::int64_t>(nll.size());
    // A strided text of one fresh token has no weight at all; its plain mean is what is left.
    const Estimate plain = mean_with_error(nll);
    result.nll = {weights > 0.0 ? sum / weights : plain.value, plain.error};
    result.perplexity.value = std::exp(result.nll.value);
    result.perplexity.error = result.perplexity.value * result.nll.error;
    return result;
}

void score_windows(WindowLogits& logits, ThreadPool& threads, std::span<const std::int32_t> ids,
                   std::span<const Window> windows, std::int32_t bos, std::vector<double>& nll, const RowSink* sink) {
    // Steps give rows window by window or, where a window is cut into steps, part by part: where each window's values begin.
    const std::vector<std::size_t> begin = places_of_targets(windows, nll.size());
    nll.resize(begin.back());
    std::vector<RowSums> sums;
    logits.run(ids, windows, bos, [&](const LogitRows& part) {
        const std::size_t vocab = part.logits.size() / part.rows.size();
        sums.resize(part.rows.size());
        const auto target_of = [&](const LogitRows::Row& row) {
            const Window& window = windows[static_cast<std::size_t>(row.window)];
            return ids[static_cast<std::size_t>(window.begin + row.target)];
        };
        threads.parallel_for(static_cast<std::int64_t>(part.rows.size()), 1, [&](std::int64_t first, std::int64_t last) {
            for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
                const LogitRows::Row& row = part.rows[i];
                const Window& window = windows[static_cast<std::size_t>(row.window)];
                const std::span<const float> values = part.logits.subspan(i * vocab, vocab);
                sums[i] = sum_row(values);
                nll[begin[static_cast<std::size_t>(row.window)] + static_cast<std::size_t>(row.target - window.first_target)] =
                    sums[i].log_sum_exp() - static_cast<double>(values[static_cast<std::size_t>(target_of(row))]);
            }
        });
        if (!sink) return;
        for (std::size_t i = 0; i < part.rows.size(); ++i)
            (*sink)(part.logits.subspan(i * vocab, vocab), sums[i], target_of(part.rows[i]));
    });
}

}  // namespace narae::eval
