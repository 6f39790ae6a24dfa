#include "support/tested_devices.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

namespace narae::test {
namespace {

using kernels::BackendOptions;
using kernels::DeviceInfo;

constexpr std::int64_t kGuard = 32;  // floats before and after; keeps the payload aligned to 64 bytes
constexpr float kCanary = -1.2345678e33f;

void add(std::vector<TestedDevice>& all, const BackendOptions& options, bool host) {
    TestedDevice device;
    device.group = options.instruction_set.empty() ? options.device : options.device + " " + options.instruction_set;
    device.name = fmt::format("{}, {} threads", device.group, options.threads);
    device.backend = kernels::open_backend(options);
    device.host = host;
    device.invariant = host;
    all.push_back(std::move(device));
}

std::vector<TestedDevice> open_all() {
    std::vector<TestedDevice> all;
    add(all, {.device = "ref", .threads = 1, .instruction_set = ""}, true);
    for (const DeviceInfo& info : kernels::devices()) {
        if (!info.usable || info.name == "ref") continue;
        if (info.name != "cpu") {
            add(all, {.device = info.name, .threads = 0, .instruction_set = ""}, false);
            continue;
        }
        for (const std::string& instruction_set : info.instruction_sets)
            for (const int threads : {1, 2, 3})
                add(all, {.device = info.name, .threads = threads, .instruction_set = instruction_set}, true);
    }
    return all;
}

}  // namespace

std::span<TestedDevice> tested_devices() {
    static std::vector<TestedDevice> all = open_all();
    return all;
}

TestedDevice& reference_device() { return tested_devices().front(); }
kernels::Backend& reference() { return *reference_device().backend; }

Guarded::Guarded(TestedDevice& device, std::int64_t rows, std::int64_t columns)
    : device_(device), rows_(rows), columns_(columns) {
    const std::vector<float> nan(static_cast<std::size_t>(rows * columns), std::numeric_limits<float>::quiet_NaN());
    place(nan);
}

Guarded::Guarded(TestedDevice& device, std::int64_t rows, std::int64_t columns, std::span<const float> values)
    : device_(device), rows_(rows), columns_(columns) {
    NARAE_CHECK(static_cast<std::int64_t>(values.size()) == rows * columns, "{} values for [{}, {}]", values.size(), rows,
                columns);
    place(values);
}

void Guarded::place(std::span<const float> values) {
    const auto guard = static_cast<std::size_t>(kGuard);
    std::vector<float> all(values.size() + 2 * guard, kCanary);
    std::ranges::copy(values, all.begin() + kGuard);
    if (device_.host) {
        host_ = Buffer(all.size() * sizeof(float));
        std::memcpy(host_.data(), all.data(), host_.size());
        all_ = make_tensor(host_.data(), DType::f32, {static_cast<std::int64_t>(all.size())});
    } else {
        all_ = device_.backend->upload(all);
    }
}

std::vector<float> Guarded::padded() const {
    std::vector<float> all(static_cast<std::size_t>(all_.shape.elements()));
    device_.backend->copy_to_host(all_, std::as_writable_bytes(std::span(all)));
    return all;
}

Guarded::~Guarded() {
    const std::vector<float> all = padded();
    const auto intact = [](float value) { return value == kCanary; };
    EXPECT_TRUE(std::all_of(all.begin(), all.begin() + kGuard, intact)) << device_.name << ": wrote before the buffer";
    EXPECT_TRUE(std::all_of(all.end() - kGuard, all.end(), intact)) << device_.name << ": wrote after the buffer";
}

Tensor Guarded::tensor() const {
    return make_tensor(all_.data + kGuard * static_cast<std::int64_t>(sizeof(float)), DType::f32, {rows_, columns_});
}

Tensor Guarded::vector() const { return make_tensor(tensor().data, DType::f32, {rows_ * columns_}); }

std::vector<float> Guarded::values() const {
    const std::vector<float> all = padded();
    return {all.begin() + kGuard, all.end() - kGuard};
}

TestBatch::TestBatch(std::span<const SequenceRows> parts, int sequences, int blocks_each, std::uint64_t seed) {
    for (const SequenceRows& part : parts) {
        row_begin.push_back(static_cast<std::int32_t>(positions.size()));
        slots.push_back(part.sequence);
        for (std::int32_t i = 0; i < part.rows; ++i) {
            positions.push_back(part.begin + i);
            row_sequence.push_back(static_cast<std::int32_t>(row_begin.size()) - 1);
        }
    }
    row_begin.push_back(static_cast<std::int32_t>(positions.size()));
    ids.assign(positions.size(), 0);
    blocks = std::int64_t{sequences} * blocks_each + 3;  // some stay unused
    std::vector<std::int32_t> pool(static_cast<std::size_t>(blocks));
    std::iota(pool.begin(), pool.end(), 0);
    std::mt19937_64 random(seed);
    for (std::size_t i = pool.size(); i > 1; --i) std::swap(pool[i - 1], pool[random() % i]);
    for (const SequenceRows& part : parts)
        for (int b = 0; b < blocks_each; ++b) tables.push_back(pool[static_cast<std::size_t>(part.sequence * blocks_each + b)]);
    batch.table_stride = blocks_each;
    refresh();
}

void TestBatch::refresh() {
    batch.rows = static_cast<int>(positions.size());
    batch.sequences = static_cast<int>(slots.size());
    batch.ids = ids;
    batch.positions = positions;
    batch.row_sequence = row_sequence;
    batch.row_begin = row_begin;
    batch.slots = slots;
    batch.logit_rows = logit_rows;
    batch.block_tables = {tables};
}

}  // namespace narae::test
