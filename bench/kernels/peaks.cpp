#include "peaks.h"

#include "base/clock.h"
#include "tensor/tensor.h"

#include <immintrin.h>

#include <algorithm>

namespace narae::bench {
namespace {

constexpr int kChains = 12;  // independent sums: latency x throughput of either instruction
constexpr int kTurns = 20000, kRuns = 40;

template <class Work>
double best_seconds(Work work) {
    double best = 1e9;
    for (int run = 0; run < kRuns; ++run) {
        const double start = monotonic_seconds();
        work();
        best = std::min(best, monotonic_seconds() - start);
    }
    return best;
}

[[gnu::target("avx512f,avx512vnni")]] void multiply_int8() {
    __m512i sums[kChains];
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (int turn = 0; turn < kTurns; ++turn) {
        asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
    }
    for (auto& sum : sums) asm volatile("" : "+v"(sum));
}

[[gnu::target("avx512f")]] void multiply_floats() {
    __m512 sums[kChains];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(0.5f);
    for (int turn = 0; turn < kTurns; ++turn) {
        asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
    }
    for (auto& sum : sums) asm volatile("" : "+v"(sum));
}

bool has_avx512() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }

}  // namespace

double int8_peak() { return has_avx512() ? double{kTurns} * kChains * 64 * 2 / best_seconds(multiply_int8) : 0.0; }

double float_peak() { return has_avx512() ? double{kTurns} * kChains * 16 * 2 / best_seconds(multiply_floats) : 0.0; }

double read_bandwidth(ThreadPool& threads, std::int64_t bytes) {
    const Buffer buffer(static_cast<std::size_t>(bytes));
    std::fill_n(buffer.as<std::uint64_t>().begin(), buffer.size() / 8, 1u);
    const auto words = static_cast<std::int64_t>(buffer.size() / 8);
    double best = 1e9;
    for (int run = 0; run < 10; ++run) {
        const double start = monotonic_seconds();
        threads.run([&](int t) {
            const std::uint64_t* data = buffer.as<std::uint64_t>().data();
            std::uint64_t sums[8] = {};
            const std::int64_t begin = words * t / threads.threads() / 8 * 8, end = words * (t + 1) / threads.threads() / 8 * 8;
            for (std::int64_t i = begin; i < end; i += 8)
                for (int j = 0; j < 8; ++j) sums[j] += data[i + j];
            for (auto& sum : sums) asm volatile("" : "+r"(sum));
        });
        best = std::min(best, monotonic_seconds() - start);
    }
    return static_cast<double>(bytes) / best;
}

}  // namespace narae::bench
