// The device "cuda:N": one card, one stream. A step is asynchronous: its batch is copied from pinned memory, its kernels are
// launched (or a recording of them, a CUDA graph, is replayed), its choices are copied back, and an event marks its end;
// nothing waits inside a step and nothing is allocated after warm-up.
//
// A recording serves a step only where every operation has the arguments that were recorded: step() first calls `forward` with
// the operations adding their arguments to a hash and doing nothing else (but staging the sampling parameters), then launches.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/sampler.h"
#include "kernels/cuda/views.h"
#include "kernels/cuda/weight.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace narae::kernels::cuda {

class CudaBackend final : public Backend {
public:
    CudaBackend(int device, const BackendOptions& options);
    ~CudaBackend() override;

    std::string_view device() const override { return name_; }
    std::string description() const override;
    std::uint64_t available_bytes() const override;
    int step_rows() const override { return 1024; }
    std::uint64_t device_used_bytes() const override;
    double measure_device_bandwidth() override;

    std::unique_ptr<DeviceWeight> prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) override;
    std::unique_ptr<DeviceWeight> prepare_qkv(std::span<const PackedWeight> parts, const HeadRows& heads,
                                              Activations activations) override;
    std::unique_ptr<DeviceWeight> prepare_table(const PackedWeight& table) override;
    std::uint64_t prepared_bytes(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) const override;
    std::uint64_t prepared_table_bytes(const PackedWeight& table) const override;
    Tensor upload(std::span<const float> values) override;
    std::unique_ptr<KvStorage> make_kv(const KvGroup& group) override;
    MemoryPlan plan(const ModelShape& shape, const Limits& limits) const override;
    Workspace allocate(const ModelShape& shape, const Limits& limits) override;

    Ticket step(StepKey key, FunctionRef<void()> forward) override;
    std::span<const Sampled> wait(Ticket ticket) override;

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
    void copy_rows(int rows, std::int64_t columns, const Tensor& from, const Tensor& to) override;
    void norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) override;
    void linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) override;
    void norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                           const Tensor& rope_table) override;
    void append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) override;
    void activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                  const Tensor& y) override;
    void add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) override;

private:
    // What an operation does when it is called.
    enum class Mode : std::uint8_t { run, check };
    struct Recording {
        std::uint64_t hash = 0;
        int seen = 0;  // steps with this hash
        bool impossible = false;
        cudaGraphExec_t graph = nullptr;
    };
    struct Sizes;

    // Begins an operation: adds its name and arguments to the hash of the step; true: that is all that is wanted.
    template <class... Values>
    bool only_checks(const char* operation, const Values&... values);
    void drop_recordings();
    void record(Recording& recording, FunctionRef<void()> forward);

    Sizes sizes(const ModelShape& shape, const Limits& limits) const;
    BatchView view(const Batch& batch, int group);
    const std::int32_t* on_card(std::span<const std::int32_t> values, std::size_t& eager);
    void copy_batch();  // the workspace's batch arrays to the card

    // Memory that grows outside of recordings, for what allocate() did not foresee (tests).
    std::byte* at_least(DeviceMemory& memory, std::size_t bytes, bool zeroed = false);
    // Whether a product of so many rows goes to few_rows_product.
    bool streams(const CudaWeight& weight, int rows) const;
    // In a step's check: x is finished, or is what a product norms. The one lets the other be prepared where x is finished.
    void note_residual(const Tensor& x, int rows);
    void note_norm(const Tensor& x, int rows, const Norm& norm, const Linear& linear);
    // In its run: what the next norm wants of the residual that is finished now.
    NextInput next_input(const Tensor& x, int rows, bool possible);
    // W norm(x[index]) of `rows` rows, ended as `ending` says. `may_start`: see few_rows_product.
    void product(int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, const Linear& linear,
                 const Ending& ending, bool may_start);
    void many_rows(int rows, const void* x16, int padded, const Segment& weight, const Ending& ending);

    std::string name_;
    int device_ = 0;
    std::string card_;
    std::size_t card_bytes_ = 0;
    Stream stream_;
    Blas blas_;
    WeightLoader loader_;
    Sampler sampler_;

    DeviceMemory arena_;
    DeviceMemory next_x_, next_squares_;
    DeviceMemory input_, normed_, product_, unpacked_, blas_workspace_, attention_scratch_;
    std::array<DeviceMemory, 8> scratch_;
    std::vector<DeviceMemory> uploads_;
    struct Frequencies {
        std::vector<float> values;
        DeviceMemory memory;
    };
    std::vector<Frequencies> frequencies_;

    PinnedMemory host_batch_;  // what the engine writes
    std::array<PinnedMemory, kTicketsKept> staged_batch_;
    DeviceMemory device_batch_, eager_batch_;

    Mode mode_ = Mode::run;
    bool in_step_ = false, recordable_ = true, recording_now_ = false;
    std::uint64_t hash_ = 0;
    std::map<StepKey, Recording> recordings_;
    int sampled_rows_ = 0;  // of the step
    // The residual's states in a step, in order, and the norm that each is prepared for.
    struct Residual {
        const void* x = nullptr;
        int rows = 0;
        std::optional<Norm> norm = {};
    };
    std::vector<Residual> residuals_;
    std::size_t residual_ = 0;          // the next one to be finished
    std::optional<Residual> prepared_;  // what lies in next_x_ and next_squares_

    Ticket last_ticket_ = 0;
    struct Result {
        PinnedMemory chosen;
        int rows = 0;
        Event done;
    };
    std::array<Result, kTicketsKept> results_;
};

}  // namespace narae::kernels::cuda
