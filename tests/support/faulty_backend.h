// A backend around another that fails or poisons the k-th of its operations, for testing what everything above does then.
#pragma once

#include "kernels/backend.h"

#include <cstdint>

namespace narae::test {

enum class Fault : std::uint8_t {
    fail,     // throws InternalError instead of running
    exhaust,  // throws ResourceError instead of running
    poison,   // runs, then writes NaN over the first row of its f32 output
};

// Counts calls of the operations that a step makes (embed to sample) and of reserve_blocks of the storages that it made; the
// one numbered `at` (from 0) goes wrong. Host memory only. `inner` outlives it.
class FaultyBackend final : public kernels::Backend {
public:
    explicit FaultyBackend(kernels::Backend& inner) : inner_(inner) {}

    void arm(std::int64_t at, Fault fault);  // counts from now on
    void disarm() { at_ = -1; }
    std::int64_t calls() const { return calls_; }  // since arm()

    std::string_view device() const override { return inner_.device(); }
    std::string description() const override { return inner_.description() + ", faulty"; }
    std::unique_ptr<kernels::DeviceWeight> prepare(std::span<const PackedWeight> parts, kernels::Fuse fuse,
                                                   kernels::Activations activations) override {
        return inner_.prepare(parts, fuse, activations);
    }
    std::unique_ptr<kernels::DeviceWeight> prepare_table(const PackedWeight& table) override {
        return inner_.prepare_table(table);
    }
    std::uint64_t prepared_bytes(std::span<const PackedWeight> parts, kernels::Fuse fuse,
                                 kernels::Activations activations) const override {
        return inner_.prepared_bytes(parts, fuse, activations);
    }
    Tensor upload(std::span<const float> values) override { return inner_.upload(values); }
    std::unique_ptr<kernels::KvStorage> make_kv(const kernels::KvGroup& group) override;
    kernels::MemoryPlan plan(const kernels::ModelShape& shape, const kernels::Limits& limits) const override {
        return inner_.plan(shape, limits);
    }
    kernels::Workspace allocate(const kernels::ModelShape& shape, const kernels::Limits& limits) override {
        return inner_.allocate(shape, limits);
    }
    kernels::Ticket step(kernels::StepKey key, FunctionRef<void()> forward) override { return inner_.step(key, forward); }
    std::span<const kernels::Sampled> wait(kernels::Ticket ticket) override { return inner_.wait(ticket); }

    void embed(const kernels::Batch& batch, const kernels::DeviceWeight& table, float scale,
               const kernels::DeviceWeight* positions_table, int position_offset, const Tensor& x) override;
    void rope_table(const kernels::Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) override;
    void qkv(const kernels::Batch& batch, const Tensor& x, const kernels::Norm& norm, const kernels::Linear& linear,
             const kernels::Norm* q_norm, const kernels::Norm* k_norm, const kernels::Rope& rope, const Tensor& rope_table,
             const kernels::KvLayer& kv, const Tensor& q, const kernels::Observer* observer) override;
    void attention(const kernels::Batch& batch, const Tensor& q, const kernels::AttentionParameters& parameters,
                   const kernels::KvLayer& kv, const Tensor& out) override;
    void project_add(int rows, const Tensor& x, const kernels::Linear& linear, const kernels::Norm* post_norm, float scale,
                     const Tensor& residual, const kernels::Observer* observer) override;
    void gate_up(int rows, const Tensor& x, const kernels::Norm& norm, const kernels::Linear& linear,
                 kernels::Activation activation, const Tensor& y, const kernels::Observer* observer) override;
    void logits(const kernels::Batch& batch, const Tensor& x, const kernels::Norm& norm, const kernels::Linear& linear,
                float scale, float soft_cap, const Tensor& logits, const kernels::Observer* observer) override;
    void sample(const Tensor& logits, std::span<const kernels::SamplingRow> rows, std::span<const std::int32_t> slots) override;

    void copy_to_host(const Tensor& from, std::span<std::byte> to) override { inner_.copy_to_host(from, to); }
    void copy_block(kernels::KvStorage& storage, std::int32_t from, std::int32_t to) override;

    Tensor scratch(int which, std::int64_t rows, std::int64_t columns) override { return inner_.scratch(which, rows, columns); }
    void copy_rows(int rows, std::int64_t columns, const Tensor& from, const Tensor& to) override {
        inner_.copy_rows(rows, columns, from, to);
    }
    void norm(int rows, const Tensor& x, const kernels::Norm& norm, const Tensor& y) override;
    void linear(int rows, const Tensor& x, const kernels::Linear& linear, const Tensor& y) override;
    void norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const kernels::Norm* norm,
                           const kernels::Rope& rope, const Tensor& rope_table) override {
        inner_.norm_rotate_heads(rows, heads, count, head_dim, norm, rope, rope_table);
    }
    void append_kv(const kernels::Batch& batch, const Tensor& k, const Tensor& v, const kernels::KvLayer& kv) override;
    void activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, kernels::Activation activation,
                  const Tensor& y) override {
        inner_.activate(rows, columns, gate, up, activation, y);
    }
    void add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) override {
        inner_.add(rows, columns, scale, x, residual);
    }

    // Counts a call and throws if it is the one that fails; true: poison its output.
    bool count(std::string_view operation);

private:
    kernels::Backend& inner_;
    std::int64_t at_ = -1, calls_ = 0;
    Fault fault_ = Fault::fail;
};

}  // namespace narae::test
