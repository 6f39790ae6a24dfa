// The seam between the model and a device. About a dozen block-level operations, not a tensor language. Everything above
// names devices by strings ("cpu", "cuda:0") and sees memory only as Tensor views that a backend gave.
//
// A block operation's meaning is its composition from the small operations at the end of the class; that composition is the
// default implementation here, and a backend overrides a block where it can fuse. ref/ is the specification: slow and
// obvious, sums in double. With an observer attached the composition runs (call it as backend.Backend::qkv(...)), so that
// calibration sees the same inputs everywhere.
//
// One thread calls a backend. Activations are float32 [rows, ...], the residual stream included; but q, attention and ffn of a
// Workspace may be of another type that the backend chose (float32 where float32 or int8 activations are asked for).
#pragma once

#include "formats/format.h"
#include "kernels/batch.h"
#include "kernels/sampling.h"
#include "tensor/tensor.h"

#include "base/function_ref.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae::kernels {

// How weights of one call are laid together: none (one weight), rows (stacked: q, k, v), interleaved (gate and up by turns).
enum class Fuse : std::uint8_t { none, rows, interleaved };

// What products with packed weights see: f32 dequantizes the weights exactly; int8 rounds the activations to int8 in
// blocks of 32 where the format has an integer product; auto lets the backend choose the fast one, which on a card may be
// bf16 or f16 (they cannot be asked for).
enum class Activations : std::uint8_t { automatic, f32, int8, bf16, f16 };

// A weight in the layout that the backend's kernels want. Opaque; owns its memory (or views the file).
class DeviceWeight {
public:
    virtual ~DeviceWeight() = default;
    std::int64_t out = 0, in = 0;          // of all parts together
    std::vector<std::int64_t> parts;       // rows of each part, in order
    std::vector<Activations> activations;  // of each part: what its product sees
    Fuse fuse = Fuse::none;
    std::uint64_t bytes = 0;  // of device (or private host) memory
    std::string kernel;       // the path taken, for the numerics manifest: "q4 panel x int8 (avx512_vnni)"
    std::string fallback;     // why not the fast path; empty when it is
};

struct Linear {
    const DeviceWeight* weight = nullptr;
    Tensor bias;  // [out] f32, parts in order (not interleaved); data null: none
};

enum class NormKind : std::uint8_t { none, rms, layer };

struct Norm {
    NormKind kind = NormKind::rms;
    float eps = 1e-5f;
    Tensor weight;  // [hidden] f32 (Gemma's +1 already added)
    Tensor bias;    // [hidden] f32; data null: none
};

enum class Activation : std::uint8_t { silu, gelu_erf, gelu_tanh, quick_gelu, relu };

struct Rope {
    int rotary_dim = 0;        // components of each head that rotate; 0: no rotation
    bool interleaved = false;  // pairs (2i, 2i + 1); otherwise (i, i + rotary_dim / 2)
};

// How the rows of q and k, stacked, are heads, and how those rotate.
struct HeadRows {
    std::int64_t rows = 0;  // of q and k together
    int head_dim = 0;
    Rope rope = {};
};

struct AttentionParameters {
    int heads = 0;
    float scale = 1.0f;
    float soft_cap = 0.0f;  // 0: none; s = cap * tanh(s / cap) before the mask
    Tensor alibi_slopes;    // [heads] f32; data null: none
    Tensor sinks;           // [heads] f32 logits that join the softmax without a value; data null: none
};

// Sees the input of every Linear: rows x [rows, in] that enter weights `linear`. Host memory for "cpu".
using Observer = FunctionRef<void(const Linear& linear, const Tensor& x)>;

// The numbers of a model that decide its memory.
struct ModelShape {
    int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0;
    bool gated = true;
    int rotary_dim = 0;
    std::vector<KvGroup> groups;
    std::uint64_t weight_bytes = 0;                    // packed, as prepare() will lay them
    Activations activations = Activations::automatic;  // that products are asked for
};

struct Limits {
    int max_rows = 512;         // of one step
    int max_logit_rows = 1;     // of one step
    int max_sequences = 1;      // in flight
    int max_context = 2048;     // tokens of one sequence
    std::int64_t kv_bytes = 0;  // cap of the KV cache; 0: what max_sequences x max_context needs
};

// Bytes by purpose, computed before anything is loaded; the allocator's only input, and what people are shown.
struct MemoryPlan {
    std::uint64_t weights = 0, kv_per_block = 0, kv = 0, activations = 0, logits = 0, scratch = 0, batch = 0;
    std::uint64_t total() const { return weights + kv + activations + logits + scratch + batch; }
};
// The part that does not depend on the backend: weights, kv_per_block and kv.
MemoryPlan plan_weights_and_kv(const ModelShape& shape, const Limits& limits);

// The activation buffers of a step, all inside the backend's arena.
struct Workspace {
    Tensor x;           // [max_rows, hidden]
    Tensor q;           // [max_rows, heads * head_dim]
    Tensor attention;   // [max_rows, heads * head_dim]
    Tensor ffn;         // [max_rows, ffn]
    Tensor rope;        // [max_rows, 2, rotary_dim / 2] cos and sin
    Tensor rope_local;  // the same for layers with another rotation
    Tensor logits;      // [max_logit_rows, vocab]
    BatchBuffers batch;
};

using Ticket = std::uint64_t;
// Which recording may serve a step: equal keys promise equal shapes.
using StepKey = std::uint64_t;

class Backend {
public:
    virtual ~Backend() = default;
    virtual std::string_view device() const = 0;    // "cpu"
    virtual std::string description() const = 0;    // "AVX-512 VNNI BF16, 2 threads"
    virtual std::uint64_t available_bytes() const;  // of the device's memory; the default is the machine's
    virtual int step_rows() const;                  // rows of prompts in one step that keep the device busy
    // Of a device with memory of its own (otherwise 0): what is in use, by anyone, and how fast it reads it, measured now, in
    // bytes a second.
    virtual std::uint64_t device_used_bytes() const;
    virtual double measure_device_bandwidth();

    // Lays weights for the kernels, streaming, with no second copy of the whole; pages of files may be released behind it. The
    // PackedWeights' memory may be released afterwards. Parts of different formats are packed part by part.
    virtual std::unique_ptr<DeviceWeight> prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) = 0;
    // q, k and v (Fuse::rows) of a qkv() without norms of heads: a backend may lay rows so that it can rotate where the product
    // ends. The default takes no notice.
    virtual std::unique_ptr<DeviceWeight> prepare_qkv(std::span<const PackedWeight> parts, const HeadRows& heads,
                                                      Activations activations);
    // A table of which only rows are looked up (an untied embedding, learned positions): may stay a view of the source,
    // which must then outlive it; only the pages that are touched become resident.
    virtual std::unique_ptr<DeviceWeight> prepare_table(const PackedWeight& table) = 0;
    // Bytes that prepare() and prepare_table() will use for them; the default for tables that stay where they are.
    virtual std::uint64_t prepared_bytes(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) const = 0;
    virtual std::uint64_t prepared_table_bytes(const PackedWeight& table) const;
    // Small vectors (norms, biases, tables): copied to the device, owned by the backend until it is destroyed.
    virtual Tensor upload(std::span<const float> values) = 0;

    virtual std::unique_ptr<KvStorage> make_kv(const KvGroup& group) = 0;

    virtual MemoryPlan plan(const ModelShape& shape, const Limits& limits) const = 0;
    // Allocates the arena of a plan's activations, logits, scratch and batch buffers, once. ResourceError says needed and
    // available.
    virtual Workspace allocate(const ModelShape& shape, const Limits& limits) = 0;

    // Runs `forward` (which calls the operations below), asynchronously where the device is; a backend may record it once
    // for a key and replay the recording. The default completes at once.
    virtual Ticket step(StepKey key, FunctionRef<void()> forward);
    // Waits; what `sample` chose in that step, in the order of its rows. Valid until kTicketsKept - 1 more steps began;
    // an older ticket may not be waited for. The default returns what was given to record_sampled.
    virtual std::span<const Sampled> wait(Ticket ticket);
    static constexpr int kTicketsKept = 4;

    // ---- block-level operations -------------------------------------------------------------------------------------
    // x[r] = table[id of r] * scale (+ positions_table[position of r + position_offset] where there is one).
    virtual void embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
                       int position_offset, const Tensor& x) = 0;
    // cos and sin of every row's position, times `scaling`: table [rows, 2, rotary_dim / 2]; angle = position * inv_freq
    // rounded to f32, as transformers does.
    virtual void rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) = 0;
    // [q k v] = W norm(x) + b, optional norms of each q and k head, rotation; q to `q`, k and v appended to the cache.
    virtual void qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
                     const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
                     const Observer* observer = nullptr);
    // out[r] = softmax(q[r] K^T * scale, causal, window) V over the row's sequence.
    virtual void attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                           const Tensor& out) = 0;
    // residual += scale * post_norm(W x + b)
    virtual void project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                             const Tensor& residual, const Observer* observer = nullptr);
    // y = act(gate) * up with [gate up] = W norm(x) + b (fuse = interleaved), or act(W norm(x) + b) (fuse = none).
    virtual void gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation,
                         const Tensor& y, const Observer* observer = nullptr);
    // logits[i] = cap(scale * (W norm(x[logit_rows[i]]) + b))
    virtual void logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale,
                        float soft_cap, const Tensor& logits, const Observer* observer = nullptr) = 0;
    // Chooses a token for each logits row and remembers it in slots[i].
    virtual void sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) = 0;

    // ---- memory -----------------------------------------------------------------------------------------------------
    virtual void copy_to_host(const Tensor& from, std::span<std::byte> to) = 0;
    virtual void copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) = 0;

    // ---- the small operations that the blocks are composed of ---------------------------------------------------------
    // Rows lie one after the other (no gaps) except in copy_rows; the first `rows` rows of a tensor take part, its last
    // dimension is the number of columns. Outputs do not overlap inputs, except that norm_rotate_heads works in place.
    // The compositions use scratch(0) to scratch(kCompositionScratch - 1).
    static constexpr int kCompositionScratch = 4;
    virtual Tensor scratch(int which, std::int64_t rows,
                           std::int64_t columns) = 0;  // f32; valid until the next call with `which`
    // to[r, c] = from[r, c]; both may be column ranges of wider rows (strides[0]). The default is for host memory.
    virtual void copy_rows(int rows, std::int64_t columns, const Tensor& from, const Tensor& to);
    virtual void norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) = 0;
    virtual void linear(int rows, const Tensor& x, const Linear& linear,
                        const Tensor& y) = 0;  // y: [rows, out], parts in order
    // Norms each head of `heads` [rows, heads * head_dim] where a norm is given, then rotates.
    virtual void norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                                   const Tensor& rope_table) = 0;
    virtual void append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) = 0;
    virtual void activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                          const Tensor& y) = 0;
    virtual void add(int rows, std::int64_t columns, float scale, const Tensor& x,
                     const Tensor& residual) = 0;  // residual += scale * x

protected:
    // For backends whose steps complete at once: remembers a choice for wait() on the step that is running.
    void record_sampled(const Sampled& sampled);

private:
    Ticket last_ticket_ = 0;
    std::array<std::vector<Sampled>, kTicketsKept> sampled_;
};

// What to open, and how.
struct BackendOptions {
    std::string device = "auto";  // "auto", "cpu", "ref", "cuda", "cuda:1"
    int threads = 0;              // CPU threads; 0: usable processors
    std::string instruction_set;  // "" best; "generic", "avx2", "avx512"... to force one (tests, comparison)
};

struct DeviceInfo {
    std::string name;         // "cpu", "cuda:0"
    std::string description;  // processor or card
    bool usable = true;
    std::string reason = {};                         // why not
    std::vector<std::string> instruction_sets = {};  // that BackendOptions may force here; empty: no choice
};

std::vector<DeviceInfo> devices();
// ResourceError: no such device on this machine or in this build. UsageError: an unknown name.
std::unique_ptr<Backend> open_backend(const BackendOptions& options);

// How a folder of this room announces itself; open_backend asks each in turn.
struct BackendFactory {
    std::string_view prefix;  // "cpu", "cuda", "ref"
    std::vector<DeviceInfo> (*devices)();
    std::unique_ptr<Backend> (*open)(const BackendOptions& options);
};
struct RegisterBackend {
    explicit RegisterBackend(const BackendFactory& factory);
};

}  // namespace narae::kernels
