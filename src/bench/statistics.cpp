#include "bench/statistics.h"

#include "base/error.h"

#include <algorithm>
#include <vector>

namespace narae::bench {

double median(std::span<const double> values) {
    NARAE_CHECK(!values.empty(), "the median of nothing");
    std::vector<double> sorted(values.begin(), values.end());
    std::ranges::sort(sorted);
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

}  // namespace narae::bench
