#include "bench/bandwidth.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/threads.h"
#include "bench/statistics.h"
#include "tensor/tensor.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <span>
#include <vector>

namespace narae::bench {
namespace {

// Words added up side by side: enough independent chains for the compiler's vectors and the processor's loads in flight.
constexpr std::size_t kLanes = 32;

std::uint64_t sum_of(std::span<const std::uint64_t> words) {
    std::array<std::uint64_t, kLanes> lanes{};
    std::size_t i = 0;
    for (; i + kLanes <= words.size(); i += kLanes) {
        const std::uint64_t* const from = words.data() + i;
        for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += from[lane];
    }
    std::uint64_t sum = 0;
    for (; i < words.size(); ++i) sum += words[i];
    for (const std::uint64_t lane : lanes) sum += lane;
    return sum;
}

}  // namespace

Bandwidth measure_read_bandwidth(int threads, std::uint64_t buffer_bytes, int passes) {
    NARAE_CHECK(threads >= 1 && passes >= 1, "{} threads, {} passes", threads, passes);
    Buffer buffer(buffer_bytes);
    const std::span<std::uint64_t> words = buffer.as<std::uint64_t>();
    ThreadPool pool(threads);
    const auto part = [&](int thread) {
        const auto count = static_cast<std::size_t>(threads), t = static_cast<std::size_t>(thread);
        const std::size_t begin = words.size() * t / count, end = words.size() * (t + 1) / count;
        return words.subspan(begin, end - begin);
    };
    pool.run([&](int thread) {
        const auto own = part(thread);
        std::fill(own.begin(), own.end(), std::uint64_t{1});
    });

    std::vector<double> speeds;
    for (int pass = 0; pass < passes; ++pass) {
        std::atomic<std::uint64_t> sum{0};
        const double start = monotonic_seconds();
        pool.run([&](int thread) { sum += sum_of(part(thread)); });
        const double seconds = monotonic_seconds() - start;
        NARAE_CHECK(sum == words.size(), "{} words read as {}", words.size(), sum.load());
        speeds.push_back(static_cast<double>(words.size_bytes()) / std::max(seconds, 1e-9));
    }
    return {threads, words.size_bytes(), *std::ranges::max_element(speeds), median(speeds)};
}

}  // namespace narae::bench
