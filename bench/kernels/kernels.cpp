// Times the products of the CPU backend over the shapes of real models and prints, per row, the best and the median time, the
// weights' GB/s, GOP/s and the share of the peak measured in the same run: of memory reads for few rows, of int8 or f32
// products for many.
//   bench_kernels [threads] [instruction set] [part of a format's name] [seconds a row] [part of a shape's name]
#include "base/clock.h"
#include "kernels/backend.h"
#include "peaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace narae;
using namespace narae::kernels;

struct Case {
    const char* name;
    std::int64_t out, in;
};
constexpr Case kCases[] = {
    {"135M qkv", 960, 576},    {"135M o", 576, 576},   {"135M gate_up", 3072, 576}, {"135M down", 576, 1536},
    {"135M head", 49152, 576}, {"8B qkv", 6144, 4096}, {"8B gate_up", 28672, 4096}, {"8B down", 4096, 14336},
};

// Bytes that every format reads as finite numbers: no 16-bit pattern has the exponent of infinity.
std::vector<std::byte> random_blocks(std::size_t bytes) {
    std::mt19937_64 random(7);
    std::vector<std::byte> blocks(bytes);
    for (std::byte& byte : blocks) byte = static_cast<std::byte>(random() & 0x3f);
    return blocks;
}

struct Times {
    double best, median;
};

// Calls work(i) for about `seconds` in all.
template <class Work>
Times measure(double seconds, Work work) {
    std::vector<double> times;
    const double start = monotonic_seconds();
    for (int i = 0; i < 5 || monotonic_seconds() - start < seconds; ++i) {
        const double begin = monotonic_seconds();
        work(i);
        times.push_back(monotonic_seconds() - begin);
    }
    std::ranges::sort(times);
    return {times.front(), times[times.size() / 2]};
}

}  // namespace

int main(int count, char** arguments) {
    const int thread_count = count > 1 ? std::atoi(arguments[1]) : usable_processors();
    const std::string instruction_set = count > 2 ? arguments[2] : "", wanted = count > 3 ? arguments[3] : "";
    const std::string wanted_shape = count > 5 ? arguments[5] : "";
    const double seconds = count > 4 ? std::atof(arguments[4]) : 0.3;
    const auto backend = open_backend({.device = "cpu", .threads = thread_count, .instruction_set = instruction_set});
    double memory = 0.0;
    {
        ThreadPool threads(thread_count);
        memory = bench::read_bandwidth(threads, std::int64_t{1} << 30);
    }
    const double int8_peak = bench::int8_peak() * thread_count, float_peak = bench::float_peak() * thread_count;
    fmt::print("{}; reads {:.1f} GB/s, int8 peak {:.0f} GOP/s, f32 peak {:.0f} GFLOP/s\n", backend->description(), memory / 1e9,
               int8_peak / 1e9, float_peak / 1e9);
    fmt::print("{:<6} {:<13} {:>4}  {:>10} {:>10}  {:>7} {:>8}  {:>6} {:>6}\n", "format", "shape", "rows", "best us",
               "median us", "GB/s", "GOP/s", "memory", "peak");

    constexpr std::size_t kSpread = std::size_t{400} << 20;  // copies of small weights, so that they come from memory
    for (const char* name : {"q4_0", "q4_1", "q8_0", "q6_k", "f16", "bf16", "f32"}) {
        if (std::string(name).find(wanted) == std::string::npos) continue;
        for (const Case& shape : kCases) {
            if (shape.in % find_format(name)->block != 0 || std::string(shape.name).find(wanted_shape) == std::string::npos)
                continue;
            PackedWeight packed;
            packed.format = find_format(name);
            packed.out = shape.out;
            packed.in = shape.in;
            packed.name = shape.name;
            const std::vector<std::byte> blocks =
                random_blocks(static_cast<std::size_t>(shape.out * packed.format->row_bytes(shape.in)));
            packed.buffers = {std::span<const std::byte>(blocks)};
            for (const int rows : {1, 8, 512}) {
                const std::size_t copies = rows >= 512 ? 1 : std::clamp<std::size_t>(kSpread / blocks.size(), 1, 4000);
                std::vector<std::unique_ptr<DeviceWeight>> weights;
                for (std::size_t i = 0; i < copies; ++i)
                    weights.push_back(backend->prepare({&packed, 1}, Fuse::none, Activations::automatic));
                std::vector<float> x(static_cast<std::size_t>(rows * shape.in), 0.5f),
                    y(static_cast<std::size_t>(rows * shape.out));
                const Tensor input = make_tensor(x.data(), DType::f32, {rows, shape.in});
                const Tensor output = make_tensor(y.data(), DType::f32, {rows, shape.out});
                const Times times = measure(seconds, [&](int i) {
                    backend->linear(rows, input, {weights[static_cast<std::size_t>(i) % copies].get(), {}}, output);
                });
                const double bytes = static_cast<double>(blocks.size());
                const double operations = 2.0 * static_cast<double>(rows * shape.out * shape.in);
                const double peak = weights[0]->activations[0] == Activations::int8 ? int8_peak : float_peak;
                fmt::print("{:<6} {:<13} {:>4}  {:>10.1f} {:>10.1f}  {:>7.1f} {:>8.1f}  {:>5.0f}% {:>5.0f}%\n", name,
                           shape.name, rows, times.best * 1e6, times.median * 1e6, bytes / times.best / 1e9,
                           operations / times.best / 1e9, 100 * bytes / times.best / memory,
                           peak > 0 ? 100 * operations / times.best / peak : 0.0);
                std::fflush(stdout);
            }
        }
    }
}
