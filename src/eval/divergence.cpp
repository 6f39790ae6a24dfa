#include "eval/divergence.h"

#include "base/error.h"

#include <cmath>

namespace narae::eval {
namespace {

// Calls compare(row, logits of it, place in `begin`'s order) for every row, on all threads.
template <class Compare>
void compare_rows(ThreadPool& threads, const LogitRows& part, std::span<const Window> windows,
                  std::span<const std::size_t> begin, Compare compare) {
    const std::size_t vocab = part.logits.size() / part.rows.size();
    threads.parallel_for(static_cast<std::int64_t>(part.rows.size()), 1, [&](std::int64_t first, std::int64_t last) {
        for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
            const LogitRows::Row& row = part.rows[i];
            const auto window = static_cast<std::size_t>(row.window);
            const auto target = static_cast<std::size_t>(row.target - windows[window].first_target);
            compare(row, part.logits.subspan(i * vocab, vocab), begin[window] + target);
        }
    });
}

}  // namespace

void compare_with_model(WindowLogits& logits, WindowLogits& base, ThreadPool& threads, std::span<const std::int32_t> ids,
                        std::span<const Window> windows, std::int32_t bos, std::vector<TokenComparison>& tokens,
                        const RowSink* base_rows) {
    // The base's logits of one window at a time are held: [targets, vocab].
    std::vector<float> held;
    std::vector<RowSums> held_sums;
    for (const Window& window : windows) {
        const std::span<const Window> one(&window, 1);
        held.clear();
        held_sums.clear();
        std::vector<double> base_nll;
        const auto keep = [&](std::span<const float> row, const RowSums& sums, std::int32_t target) {
            held.insert(held.end(), row.begin(), row.end());
            held_sums.push_back(sums);
            if (base_rows) (*base_rows)(row, sums, target);
        };
        const RowSink sink = keep;
        score_windows(base, threads, ids, one, bos, base_nll, &sink);

        const std::size_t first = tokens.size();
        tokens.resize(first + base_nll.size());
        const std::size_t begin[] = {first};
        logits.run(ids, one, bos, [&](const LogitRows& part) {
            compare_rows(threads, part, one, begin, [&](const LogitRows::Row& row, std::span<const float> q, std::size_t at) {
                const std::size_t index = at - first;
                const std::span<const float> p = std::span(held).subspan(index * q.size(), q.size());
                const auto target = static_cast<std::size_t>(ids[static_cast<std::size_t>(window.begin + row.target)]);
                const RowSums sums = sum_row(q);
                TokenComparison& token = tokens[at];
                token.nll = sums.log_sum_exp() - static_cast<double>(q[target]);
                token.base_nll = base_nll[index];
                token.divergence = kl_divergence(p, held_sums[index], q, sums);
                token.probability_change = std::exp(-token.nll) - std::exp(-token.base_nll);
                token.same_most_likely = sums.most_likely == held_sums[index].most_likely;
            });
        });
    }
}

void compare_with_file(WindowLogits& logits, const LogitsFile& base, ThreadPool& threads, std::span<const Window> windows,
                       std::int64_t first, std::int32_t bos, std::vector<TokenComparison>& tokens) {
    const std::vector<std::size_t> begin = places_of_targets(windows, tokens.size());
    tokens.resize(begin.back());
    const std::vector<std::int32_t>& ids = base.ids();
    logits.run(ids, windows, bos, [&](const LogitRows& part) {
        compare_rows(threads, part, windows, begin, [&](const LogitRows::Row& row, std::span<const float> q, std::size_t at) {
            const Window& window = windows[static_cast<std::size_t>(row.window)];
            const std::int32_t target = ids[static_cast<std::size_t>(window.begin + row.target)];
            BaseRow p;
            base.read_row(static_cast<int>(first + row.window), row.target - window.first_target, p);
            const RowSums sums = sum_row(q);
            TokenComparison& token = tokens[at];
            token.nll = sums.log_sum_exp() - static_cast<double>(q[static_cast<std::size_t>(target)]);
            token.base_nll = -static_cast<double>(p.log_probability(target));
            token.divergence = kl_divergence_of_codes(p.codes, p.scale, p.least, q, sums);
            token.probability_change = std::exp(-token.nll) - std::exp(-token.base_nll);
            token.same_most_likely = sums.most_likely == p.most_likely();
        });
    });
}

}  // namespace narae::eval
