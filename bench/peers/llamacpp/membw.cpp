// Read bandwidth: every thread sums its own part of a 1 GiB buffer, 64 bytes at a time.
// usage: membw THREADS [REPEATS]     prints one JSON object: threads, and median, min and max in GB/s
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Words = std::uint64_t __attribute__((vector_size(64)));
constexpr std::size_t kBytes = std::size_t(1) << 30;

std::uint64_t sum(const char* data, std::size_t bytes) {
    const Words* words = reinterpret_cast<const Words*>(data);
    Words totals[8] = {};
    for (std::size_t i = 0; i < bytes / sizeof(Words); i += 8) {
        for (std::size_t k = 0; k < 8; ++k) totals[k] += words[i + k];
    }
    std::uint64_t total = 0;
    for (const Words& words_total : totals) {
        for (int lane = 0; lane < 8; ++lane) total += words_total[lane];
    }
    return total;
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 1, repeats = argc > 2 ? std::atoi(argv[2]) : 11;
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED || threads < 1 || repeats < 1) return 1;
    madvise(mapped, kBytes, MADV_HUGEPAGE);
    std::memset(mapped, 1, kBytes);
    const char* buffer = static_cast<const char*>(mapped);
    const std::size_t part = kBytes / static_cast<std::size_t>(threads) / 512 * 512;
    std::atomic<std::uint64_t> total{0};
    std::vector<double> rates;
    for (int repeat = 0; repeat < repeats; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        std::vector<std::thread> helpers;
        for (int thread = 1; thread < threads; ++thread) {
            helpers.emplace_back([=, &total] { total += sum(buffer + part * static_cast<std::size_t>(thread), part); });
        }
        total += sum(buffer, part);
        for (std::thread& helper : helpers) helper.join();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        rates.push_back(static_cast<double>(part) * threads / seconds / 1e9);
    }
    std::sort(rates.begin(), rates.end());
    // The sum is printed so that it has to be computed.
    std::printf("{\"threads\": %d, \"median\": %.2f, \"min\": %.2f, \"max\": %.2f, \"repeats\": %d, \"sum\": %llu}\n", threads,
                rates[rates.size() / 2], rates.front(), rates.back(), repeats, static_cast<unsigned long long>(total.load()));
}
