// The device "cpu": packed panels, kernels of the best instruction set, a team of threads. A product is one or two dispatches:
// few rows are normed and rounded by every thread for itself, many rows once by all; then strips of panels are claimed: from a
// stretch of each thread's own for few rows (it reads one sequential stream), from a common counter for many. No thread waits
// for one that the system does not let run. Which thread
// computes a strip never changes its bits.
#pragma once

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_memory.h"

#include <array>
#include <atomic>
#include <list>
#include <vector>

namespace narae::kernels::cpu {

// Names of the instruction sets that this processor runs, best first.
std::vector<std::string> usable_kernels();

class CpuKvStorage;

class CpuBackend final : public Backend {
public:
    explicit CpuBackend(const BackendOptions& options);

    std::string_view device() const override { return "cpu"; }
    std::string description() const override;

    std::unique_ptr<DeviceWeight> prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) override;
    std::unique_ptr<DeviceWeight> prepare_table(const PackedWeight& table) override;
    std::uint64_t prepared_bytes(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) const override;
    Tensor upload(std::span<const float> values) override;
    std::unique_ptr<KvStorage> make_kv(const KvGroup& group) override;
    MemoryPlan plan(const ModelShape& shape, const Limits& limits) const override;
    Workspace allocate(const ModelShape& shape, const Limits& limits) override;

    void embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
               int position_offset, const Tensor& x) override;
    void rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) override;
    void qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
             const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
             const Observer* observer) override;
    void attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                   const Tensor& out) override;
    void project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                     const Tensor& residual, const Observer* observer) override;
    void gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation, const Tensor& y,
                 const Observer* observer) override;
    void logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale, float soft_cap,
                const Tensor& logits, const Observer* observer) override;
    void sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) override;

    void copy_to_host(const Tensor& from, std::span<std::byte> to) override;
    void copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) override;

    Tensor scratch(int which, std::int64_t rows, std::int64_t columns) override;
    void norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) override;
    void linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) override;
    void norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                           const Tensor& rope_table) override;
    void append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) override;
    void activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                  const Tensor& y) override;
    void add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) override;

private:
    // Up to so many rows every thread makes the forms of activations for itself.
    static constexpr int kPrivateRows = 4;
    // Weights of few rows are claimed in pieces of about so many bytes.
    static constexpr std::int64_t kPieceBytes = 32768;
    // Lines (rows x heads of a kv head) of one piece of attention work.
    static constexpr int kLinesOfItem = 48;

    struct Sizes;
    Sizes sizes(const ModelShape& shape, const Limits& limits) const;
    std::size_t thread_bytes(std::int64_t in, int rows, int heads, int head_dim) const;
    std::size_t product_bytes(std::int64_t in, int rows) const;
    // norm(x[index]) times the linear's weight, ended as `output` says (its bias is filled in here).
    void product(int rows, const float* x, const std::int32_t* index, const NormTask& norm, const Linear& linear,
                 OutputTask output);
    void append_row(const Batch& batch, int row, const Tensor& k, const Tensor& v, const KvLayer& kv,
                    const CpuKvStorage& storage);
    // Calls work(begin, end) for ranges of rows on all threads; at once and here when there is too little to share.
    void over_rows(int rows, std::int64_t floats_of_row, FunctionRef<void(int, int)> work);
    // The strips of a product with few rows: every thread begins with a stretch of its own, so that it reads one sequential
    // stream, and helps the others when it is through.
    struct alignas(64) Stretch {
        std::atomic<std::int64_t> next{0};
        std::int64_t end = 0, piece = 1;
    };
    struct Claim {
        std::int64_t begin = 0, end = 0;
    };
    void divide_strips(std::int64_t strips, std::int64_t piece);
    bool claim_strips(int thread, Claim& claim);  // false: nothing is left
    std::byte* thread_scratch(int thread, std::size_t bytes) {
        return thread_regions_[static_cast<std::size_t>(thread)].get(bytes);
    }
    std::int32_t& slot(std::int32_t index);

    const Kernels& kernels_;
    ThreadPool threads_;
    WeightMemory weight_memory_;
    Buffer arena_;
    std::list<Buffer> uploads_;
    std::vector<Stretch> stretches_;  // of each thread
    std::vector<Region> thread_regions_;
    Region forms_, keys_, values_;
    std::array<Region, 8> scratch_;
    std::vector<AttentionItem> items_;
    std::vector<Sampled> sampled_;
    std::vector<std::int32_t> slots_;  // the token last sampled in each
};

}  // namespace narae::kernels::cpu
