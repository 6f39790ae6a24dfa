// What the conformance tests run on: the devices of this machine, buffers between canaries, batches over scattered KV blocks.
#pragma once

#include "kernels/backend.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae::test {

// A backend in one configuration. `invariant`: a row's results do not depend on the other rows of its batch.
struct TestedDevice {
    std::string name;   // "cpu avx2, 3 threads"
    std::string group;  // those of one group give equal bits: device and instruction set
    std::unique_ptr<kernels::Backend> backend;
    bool host = true;  // its tensors are host memory
    bool invariant = true;
};

// The reference itself (so that the tests are tested), then every usable device: the CPU with every instruction set that it
// names, on 1, 2 and 3 threads.
std::span<TestedDevice> tested_devices();
TestedDevice& reference_device();
kernels::Backend& reference();

// f32 [rows, columns] in a device's memory with canaries before and after. Filled with NaN, or with values.
class Guarded {
public:
    Guarded(TestedDevice& device, std::int64_t rows, std::int64_t columns);
    Guarded(TestedDevice& device, std::int64_t rows, std::int64_t columns, std::span<const float> values);
    ~Guarded();  // a test failure if a canary has changed
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    Tensor tensor() const;  // [rows, columns]
    Tensor vector() const;  // [rows * columns]
    std::vector<float> values() const;

private:
    void place(std::span<const float> padded);
    std::vector<float> padded() const;

    TestedDevice& device_;
    std::int64_t rows_, columns_;
    Buffer host_;
    Tensor all_;
};

// Rows of one sequence: positions [begin, begin + rows).
struct SequenceRows {
    std::int32_t sequence = 0;  // which block table
    std::int32_t begin = 0, rows = 0;
};

// A batch with the arrays that it views.
class TestBatch {
public:
    // Block tables for every sequence up to `sequences`, each of `blocks_each` blocks scattered over the pool.
    TestBatch(std::span<const SequenceRows> parts, int sequences, int blocks_each, std::uint64_t seed = 1);

    kernels::Batch batch;
    std::vector<std::int32_t> ids, positions, row_sequence, row_begin, slots, logit_rows, tables;
    std::int64_t blocks = 0;  // of the pool
    void refresh();           // after the arrays were changed
};

}  // namespace narae::test
