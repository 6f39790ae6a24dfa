#include "kernels/cuda/cuda_backend.h"

#include "base/error.h"
#include "base/log.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/bandwidth.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/kv_storage.h"
#include "kernels/cuda/product.h"

#include <algorithm>
#include <cstring>

namespace narae::kernels::cuda {
namespace {

constexpr std::size_t kUnpackedBytes = std::size_t{32} << 20;
// Dense weights of so many rows of activations are streamed by our kernel; more go to cuBLASLt.
constexpr int kMostDenseRows = 3;
constexpr std::size_t kMostRecordings = 64;

// Sums of squares of a row's strips, filled up to whole 16 bytes.
int squares_of(std::int64_t columns) { return static_cast<int>((columns + 4 * kStripRows - 1) / (4 * kStripRows) * 4); }

std::int64_t columns_of(const Tensor& tensor) { return tensor.shape[tensor.shape.rank() - 1]; }
std::size_t padded(std::int64_t bytes) { return (static_cast<std::size_t>(bytes) + 255) / 256 * 256; }

Matrix matrix_of(const Tensor& tensor) {
    return {.data = tensor.data, .dtype = tensor.dtype, .columns = columns_of(tensor), .stride = columns_of(tensor)};
}

// Whether the products of a model are in float32.
bool exact(const ModelShape& shape) { return shape.activations == Activations::f32 || shape.activations == Activations::int8; }

Norm no_norm() {
    Norm norm;
    norm.kind = NormKind::none;
    return norm;
}

Ending ending_of(Ending::Kind kind, const Tensor& y, const Linear& linear) {
    Ending ending;
    ending.kind = kind;
    ending.y = y.data;
    ending.bf16 = y.dtype == DType::bf16;
    ending.stride = columns_of(y);
    ending.bias = linear.bias.as<const float>();
    return ending;
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
    return hash * 0xff51afd7ed558ccdull;
}
template <class T>
std::uint64_t bits_of(const T& value) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class... Values>
std::uint64_t bits_of_all(const Values&... values) {
    std::uint64_t hash = 0;
    ((hash = mix(hash, bits_of(values))), ...);
    return hash;
}
std::uint64_t bits_of(const Tensor& tensor) {
    return tensor.shape.rank() == 0 ? 0 : bits_of_all(tensor.data, tensor.dtype, columns_of(tensor));
}
std::uint64_t bits_of(const Linear& linear) { return bits_of_all(linear.weight, linear.bias.data); }
std::uint64_t bits_of(const Norm& norm) { return bits_of_all(norm.kind, norm.eps, norm.weight.data, norm.bias.data); }
std::uint64_t bits_of(const Norm* norm) { return norm ? bits_of(*norm) : 0; }
std::uint64_t bits_of(const Rope& rope) { return bits_of_all(rope.rotary_dim, rope.interleaved); }
std::uint64_t bits_of(const AttentionParameters& p) {
    return bits_of_all(p.heads, p.scale, p.soft_cap, p.alibi_slopes.data, p.sinks.data);
}
std::uint64_t bits_of(const BatchView& v) {
    return bits_of_all(v.rows, v.sequences, v.ids, v.positions, v.row_sequence, v.row_begin, v.logit_rows, v.table,
                       v.table_stride);
}
std::uint64_t bits_of(const KvView& kv) {
    return bits_of_all(kv.data, kv.block_bytes, kv.type, kv.kv_heads, kv.head_dim, kv.window);
}

}  // namespace

CudaBackend::CudaBackend(int device, const BackendOptions& options)
    : name_(fmt::format("cuda:{}", device)), device_(device), loader_(stream_) {
    attempt("cudaSetDevice", [&] { return cudaSetDevice(device); });
    cudaDeviceProp properties{};
    attempt("cudaGetDeviceProperties", [&] { return cudaGetDeviceProperties(&properties, device); });
    card_ = fmt::format("{}, compute {}.{}", properties.name, properties.major, properties.minor);
    card_bytes_ = properties.totalGlobalMem;
    attempt("cudaStreamCreate", [&] { return cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking); });
    stream_.multiprocessors = properties.multiProcessorCount;
    stream_.dependent = properties.major >= 9 && options.instruction_set != "serial";
    // What is freed stays for the next allocation.
    cudaMemPool_t pool = nullptr;
    attempt("cudaDeviceGetDefaultMemPool", [&] { return cudaDeviceGetDefaultMemPool(&pool, device); });
    std::uint64_t keep = std::uint64_t{256} << 20;
    attempt("cudaMemPoolSetAttribute", [&] { return cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep); });
    if (!blas_.available()) log_info("cuda: {}; prompts will be slower", blas_.reason());
}

CudaBackend::~CudaBackend() {
    (void)cudaStreamSynchronize(stream_.handle);
    drop_recordings();
}

std::string CudaBackend::description() const {
    return fmt::format("{}{}{}", card_, stream_.dependent ? "" : ", kernels one after the other",
                       blas_.available() ? "" : ", without cuBLASLt");
}

std::uint64_t CudaBackend::available_bytes() const {
    std::size_t free = 0, total = 0;
    attempt("cudaMemGetInfo", [&] { return cudaMemGetInfo(&free, &total); });
    return free;
}

std::uint64_t CudaBackend::device_used_bytes() const {
    std::size_t free = 0, total = 0;
    attempt("cudaMemGetInfo", [&] { return cudaMemGetInfo(&free, &total); });
    return total - free;
}

double CudaBackend::measure_device_bandwidth() { return measure_read_bandwidth(stream_); }

// ---- weights ------------------------------------------------------------------------------------------------------------

std::unique_ptr<DeviceWeight> CudaBackend::prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) {
    return loader_.load(parts, fuse, activations, false);
}

std::unique_ptr<DeviceWeight> CudaBackend::prepare_qkv(std::span<const PackedWeight> parts, const HeadRows& heads,
                                                       Activations activations) {
    return loader_.load(parts, Fuse::rows, activations, false, heads);
}

std::unique_ptr<DeviceWeight> CudaBackend::prepare_table(const PackedWeight& table) {
    return loader_.load(std::span(&table, 1), Fuse::none, Activations::automatic, true);
}

std::uint64_t CudaBackend::prepared_bytes(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) const {
    return plan_weight(parts, fuse, activations, false).bytes;
}

std::uint64_t CudaBackend::prepared_table_bytes(const PackedWeight& table) const {
    return plan_weight(std::span(&table, 1), Fuse::none, Activations::automatic, true).bytes;
}

Tensor CudaBackend::upload(std::span<const float> values) {
    DeviceMemory& memory = uploads_.emplace_back(stream_, values.size_bytes());
    copy_to_device(stream_, memory.data(), values.data(), values.size_bytes());
    synchronize(stream_);  // the values may go now
    return make_tensor(memory.data(), DType::f32, {static_cast<std::int64_t>(values.size())});
}

std::unique_ptr<KvStorage> CudaBackend::make_kv(const KvGroup& group) {
    return std::make_unique<CudaKvStorage>(group, device_, card_bytes_);
}

// ---- memory -------------------------------------------------------------------------------------------------------------

struct CudaBackend::Sizes {
    std::size_t x = 0, attention = 0, ffn = 0, rope = 0, logits = 0;
    std::size_t next_x = 0, next_squares = 0, input = 0, normed = 0, product = 0, unpacked = 0, blas = 0, attention_scratch = 0,
                batch = 0, sampler = 0;
    std::size_t activations() const { return x + 2 * attention + ffn + 2 * rope; }
    std::size_t scratch() const {
        return next_x + next_squares + input + normed + product + unpacked + blas + attention_scratch + sampler;
    }
};

CudaBackend::Sizes CudaBackend::sizes(const ModelShape& s, const Limits& limits) const {
    const std::int64_t rows = limits.max_rows, attention = std::int64_t{s.heads} * s.head_dim;
    const std::int64_t kv = std::int64_t{s.kv_heads} * s.head_dim, type = exact(s) ? 4 : 2;
    const std::int64_t widest = std::max({std::int64_t{s.hidden}, attention, std::int64_t{s.ffn}}), qkv = attention + 2 * kv;
    const std::int64_t gate_up = s.gated ? 2 * std::int64_t{s.ffn} + 16 : s.ffn;
    constexpr std::int64_t kBlock = 256;  // columns are filled up to
    Sizes sizes;
    sizes.x = padded(rows * s.hidden * 4);
    sizes.attention = padded(rows * attention * type);
    sizes.ffn = padded(rows * s.ffn * type);
    sizes.rope = padded(rows * s.rotary_dim * 4);
    sizes.logits = padded(std::int64_t{limits.max_logit_rows} * s.vocab * 4);
    if (!exact(s)) {
        const std::int64_t few = std::min<std::int64_t>(rows, kMostFewRows);
        sizes.next_x = padded(few * s.hidden * 2);
        sizes.next_squares = padded(few * squares_of(s.hidden) * 4);
    }
    sizes.input = padded(rows * (widest + kBlock) * 2);
    sizes.normed = exact(s) ? padded(rows * widest * 4) : 0;
    const bool many = rows > kMostDenseRows;
    sizes.product = padded(rows * qkv * 4);
    if (many)
        sizes.product = std::max({sizes.product, padded(rows * gate_up * type), padded(rows * s.hidden * 4),
                                  padded(std::int64_t{limits.max_logit_rows} * s.vocab * 4)});
    sizes.unpacked = rows > kMostFewRows ? kUnpackedBytes : 0;
    sizes.blas = many ? Blas::kWorkspaceBytes : 0;
    sizes.attention_scratch = padded(
        static_cast<std::int64_t>(attention_scratch_bytes(stream_, limits.max_rows, s.heads, s.head_dim, limits.max_context)));
    sizes.batch = padded(batch_buffer_elements(limits.max_rows, limits.max_sequences, limits.max_logit_rows, limits.max_context,
                                               static_cast<int>(s.groups.size())) *
                         4);
    sizes.sampler = Sampler::device_bytes(limits.max_logit_rows, limits.max_sequences, s.vocab);
    return sizes;
}

MemoryPlan CudaBackend::plan(const ModelShape& s, const Limits& limits) const {
    const Sizes size = sizes(s, limits);
    MemoryPlan plan = plan_weights_and_kv(s, limits);
    plan.activations = size.activations();
    plan.logits = size.logits;
    plan.scratch = size.scratch();
    plan.batch = size.batch;
    return plan;
}

Workspace CudaBackend::allocate(const ModelShape& s, const Limits& limits) {
    loader_.release();
    drop_recordings();
    const Sizes size = sizes(s, limits);
    arena_ = DeviceMemory(stream_, size.activations() + size.logits);
    std::byte* next = arena_.data();
    const auto tensor = [&](std::size_t bytes, DType type, Shape shape) {
        std::byte* at = std::exchange(next, next + bytes);
        return make_tensor(at, type, shape);
    };
    const DType type = exact(s) ? DType::f32 : DType::bf16;
    const std::int64_t rows = limits.max_rows, attention = std::int64_t{s.heads} * s.head_dim;
    Workspace workspace;
    workspace.x = tensor(size.x, DType::f32, {rows, s.hidden});
    workspace.q = tensor(size.attention, type, {rows, attention});
    workspace.attention = tensor(size.attention, type, {rows, attention});
    workspace.ffn = tensor(size.ffn, type, {rows, s.ffn});
    workspace.rope = tensor(size.rope, DType::f32, {rows, 2, s.rotary_dim / 2});
    workspace.rope_local = tensor(size.rope, DType::f32, {rows, 2, s.rotary_dim / 2});
    workspace.logits = tensor(size.logits, DType::f32, {limits.max_logit_rows, s.vocab});
    if (size.next_x) {
        at_least(next_x_, size.next_x);
        at_least(next_squares_, size.next_squares, true);
    }
    at_least(input_, size.input);
    if (size.normed) at_least(normed_, size.normed);
    at_least(product_, size.product);
    if (size.unpacked) at_least(unpacked_, size.unpacked);
    if (size.blas) at_least(blas_workspace_, size.blas);
    at_least(attention_scratch_, size.attention_scratch, true);
    sampler_.reserve(stream_, limits.max_logit_rows, limits.max_sequences, s.vocab);
    host_batch_ = PinnedMemory(size.batch);
    for (PinnedMemory& staged : staged_batch_) staged = PinnedMemory(size.batch);
    device_batch_ = DeviceMemory(stream_, size.batch);
    workspace.batch =
        cut_batch_buffers({reinterpret_cast<std::int32_t*>(host_batch_.data()), size.batch / 4}, limits.max_rows,
                          limits.max_sequences, limits.max_logit_rows, limits.max_context, static_cast<int>(s.groups.size()));
    for (Result& result : results_)
        result.chosen = PinnedMemory(static_cast<std::size_t>(limits.max_logit_rows) * sizeof(Sampled));
    synchronize(stream_);
    return workspace;
}

std::byte* CudaBackend::at_least(DeviceMemory& memory, std::size_t bytes, bool zeroed) {
    if (memory.size() >= bytes) return memory.data();
    NARAE_CHECK(!recording_now_, "{} bytes of scratch are needed in a recording, {} were planned", bytes, memory.size());
    memory = DeviceMemory(stream_, bytes);
    if (zeroed) fill_zero(stream_, memory.data(), bytes);
    return memory.data();
}

Tensor CudaBackend::scratch(int which, std::int64_t rows, std::int64_t columns) {
    std::byte* data =
        at_least(scratch_.at(static_cast<std::size_t>(which)), std::max<std::size_t>(256, padded(rows * columns * 4)));
    return make_tensor(data, DType::f32, {rows, columns});
}

void CudaBackend::copy_to_host(const Tensor& from, std::span<std::byte> to) {
    NARAE_CHECK(to.size() <= static_cast<std::size_t>(from.shape.elements() * dtype_bits(from.dtype) / 8),
                "copy of {} bytes from {}", to.size(), from.shape.to_string());
    cuda::copy_to_host(stream_, to.data(), from.data, to.size());
    synchronize(stream_);
}

void CudaBackend::copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) {
    cuda_storage(storage).copy_block(stream_, from, to);
}

// ---- steps --------------------------------------------------------------------------------------------------------------

void CudaBackend::drop_recordings() {
    for (auto& [key, recording] : recordings_)
        if (recording.graph) (void)cudaGraphExecDestroy(recording.graph);
    recordings_.clear();
}

template <class... Values>
bool CudaBackend::only_checks(const char* operation, const Values&... values) {
    if (mode_ == Mode::run) return false;
    hash_ = mix(hash_, bits_of(operation));
    ((hash_ = mix(hash_, bits_of(values))), ...);
    return true;
}

void CudaBackend::copy_batch() {
    if (host_batch_.size() == 0) return;
    PinnedMemory& staged = staged_batch_[last_ticket_ % kTicketsKept];
    std::memcpy(staged.data(), host_batch_.data(), host_batch_.size());
    copy_to_device(stream_, device_batch_.data(), staged.data(), staged.size());
}

Ticket CudaBackend::step(StepKey key, FunctionRef<void()> forward) {
    Result& result = results_[(last_ticket_ + 1) % kTicketsKept];
    if (last_ticket_ + 1 > kTicketsKept) result.done.synchronize();  // its buffers serve again
    ++last_ticket_;
    in_step_ = true;
    recordable_ = true;
    sampled_rows_ = 0;
    hash_ = key;
    struct Leave {
        CudaBackend& backend;
        ~Leave() {
            backend.mode_ = Mode::run;
            backend.in_step_ = backend.recording_now_ = false;
            backend.residuals_.clear();
            backend.prepared_.reset();
        }
    } leave{*this};
    copy_batch();
    residuals_.clear();
    residual_ = 0;
    prepared_.reset();
    mode_ = Mode::check;
    forward();
    mode_ = Mode::run;

    if (recordings_.size() > kMostRecordings && !recordings_.contains(key)) drop_recordings();
    Recording& recording = recordings_[key];
    if (recording.hash != hash_) {
        if (recording.graph) (void)cudaGraphExecDestroy(recording.graph);
        recording = Recording{.hash = hash_};
    }
    ++recording.seen;
    if (!recordable_ || recording.impossible) {
        recording.impossible = true;
        forward();
    } else if (recording.graph) {
        attempt("cudaGraphLaunch", [&] { return cudaGraphLaunch(recording.graph, stream_.handle); });
    } else if (recording.seen > 1) {
        record(recording, forward);
        attempt("cudaGraphLaunch", [&] { return cudaGraphLaunch(recording.graph, stream_.handle); });
    } else {
        forward();
    }
    result.rows = sampled_rows_;
    const std::size_t bytes = static_cast<std::size_t>(sampled_rows_) * sizeof(Sampled);
    if (result.chosen.size() < bytes) result.chosen = PinnedMemory(bytes);
    cuda::copy_to_host(stream_, result.chosen.data(), sampler_.results(), bytes);
    result.done.record(stream_);
    return last_ticket_;
}

void CudaBackend::record(Recording& recording, FunctionRef<void()> forward) {
    recording_now_ = true;
    attempt("cudaStreamBeginCapture", [&] { return cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal); });
    cudaGraph_t graph = nullptr;
    try {
        forward();
    } catch (...) {
        (void)cudaStreamEndCapture(stream_.handle, &graph);
        if (graph) (void)cudaGraphDestroy(graph);
        throw;
    }
    attempt("cudaStreamEndCapture", [&] { return cudaStreamEndCapture(stream_.handle, &graph); });
    recording_now_ = false;
    cudaGraphExec_t executable = nullptr;
    try {
        attempt("cudaGraphInstantiate", [&] { return cudaGraphInstantiate(&executable, graph, 0); });
    } catch (...) {
        (void)cudaGraphDestroy(graph);
        throw;
    }
    (void)cudaGraphDestroy(graph);
    recording.graph = executable;
}

std::span<const Sampled> CudaBackend::wait(Ticket ticket) {
    NARAE_CHECK(ticket <= last_ticket_ && ticket + kTicketsKept > last_ticket_, "ticket {}, the last is {}, {} are kept",
                ticket, last_ticket_, kTicketsKept);
    Result& result = results_[ticket % kTicketsKept];
    result.done.synchronize();
    return {reinterpret_cast<const Sampled*>(result.chosen.data()), static_cast<std::size_t>(result.rows)};
}

// ---- batches ------------------------------------------------------------------------------------------------------------

// The workspace's arrays lie on the card in the same order; others (tests) are copied for each call.
const std::int32_t* CudaBackend::on_card(std::span<const std::int32_t> values, std::size_t& eager) {
    if (values.empty()) return nullptr;
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    if (bytes >= host_batch_.data() && bytes < host_batch_.data() + host_batch_.size())
        return reinterpret_cast<const std::int32_t*>(device_batch_.data() + (bytes - host_batch_.data()));
    recordable_ = false;
    std::byte* to = eager_batch_.data() + eager;
    eager += padded(static_cast<std::int64_t>(values.size_bytes()));
    if (mode_ == Mode::run) {
        copy_to_device(stream_, to, values.data(), values.size_bytes());
        synchronize(stream_);
    }
    return reinterpret_cast<const std::int32_t*>(to);
}

BatchView CudaBackend::view(const Batch& batch, int group) {
    if (!in_step_) {
        copy_batch();
        synchronize(stream_);  // outside of a step nothing else says when the staging buffer may be written again
    }
    const std::span<const std::int32_t> table = static_cast<std::size_t>(group) < batch.block_tables.size()
                                                    ? batch.block_tables[static_cast<std::size_t>(group)]
                                                    : std::span<const std::int32_t>();
    std::size_t most = 0, eager = 0;
    for (const auto& values : {batch.ids, batch.positions, batch.row_sequence, batch.row_begin, table, batch.logit_rows})
        most += padded(static_cast<std::int64_t>(values.size_bytes()));
    at_least(eager_batch_, most);
    BatchView v;
    v.rows = batch.rows;
    v.sequences = batch.sequences;
    v.ids = on_card(batch.ids, eager);
    v.positions = on_card(batch.positions, eager);
    v.row_sequence = on_card(batch.row_sequence, eager);
    v.row_begin = on_card(batch.row_begin, eager);
    v.table = on_card(table, eager);
    v.logit_rows = on_card(batch.logit_rows, eager);
    v.table_stride = batch.table_stride;
    return v;
}

// ---- products -----------------------------------------------------------------------------------------------------------

void CudaBackend::many_rows(int rows, const void* x16, int in, const Segment& w, const Ending& ending) {
    const bool dense = is_dense(w.layout), float16 = w.layout == Layout::f16;
    const bool straight =
        !w.interleaved && !ending.bias &&
        (ending.kind == Ending::Kind::add || (ending.kind == Ending::Kind::store && !(ending.bf16 && float16)));
    Matrix y{.data = ending.y, .dtype = ending.bf16 ? DType::bf16 : DType::f32, .columns = w.rows, .stride = ending.stride};
    std::int64_t first = w.first_output;
    if (!straight) {
        y.dtype = ending.bf16 && !float16 ? DType::bf16 : DType::f32;
        y.stride = w.rows;
        first = 0;
        y.data = at_least(product_, padded(std::int64_t{rows} * w.rows * (y.dtype == DType::bf16 ? 2 : 4)));
    }
    const std::int64_t type = y.dtype == DType::bf16 ? 2 : 4;
    std::byte* workspace = at_least(blas_workspace_, Blas::kWorkspaceBytes);
    const bool adds = straight && ending.kind == Ending::Kind::add;
    const int together = w.head_rows > 0 ? w.heads.head_dim : kStripRows;
    const int at_once =
        dense ? w.rows : static_cast<int>(kUnpackedBytes / 2 / static_cast<std::size_t>(in)) / together * together;
    for (int begin = 0; begin < w.rows; begin += at_once) {
        const int count = std::min(at_once, w.rows - begin);
        const void* weights = w.codes;
        if (!dense) {
            weights = at_least(unpacked_, kUnpackedBytes);
            unpack_rows(stream_, w, begin, count, unpacked_.data());
        }
        blas_.product(stream_, rows, count, in, x16, weights, float16, static_cast<std::byte*>(y.data) + (first + begin) * type,
                      y.dtype == DType::bf16, y.stride, adds ? ending.scale : 1.0f, adds ? 1.0f : 0.0f, workspace);
    }
    if (straight) return;
    Segment in_order = w;  // as y is
    in_order.head_rows = 0;
    end_product(stream_, rows, y, in_order, ending);
}

void CudaBackend::product(int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, const Linear& linear,
                          const Ending& ending, bool may_start) {
    if (rows == 0) return;
    const CudaWeight& weight = cuda_weight(*linear.weight);
    NARAE_CHECK(x.columns == weight.in, "x has {} columns, the weight's in is {}", x.columns, weight.in);
    if (weight.exact) {
        const float* input = static_cast<const float*>(x.data);
        std::int64_t stride = x.stride;
        if (norm.kind != NormKind::none || index || x.dtype != DType::f32) {
            auto* normed = reinterpret_cast<float*>(at_least(normed_, padded(std::int64_t{rows} * x.columns * 4)));
            norm_rows(stream_, rows, x, index, norm, normed);
            input = normed;
            stride = x.columns;
        }
        for (const Segment& segment : weight.segments) exact_product(stream_, rows, input, stride, segment, ending);
        return;
    }
    Activations16 in;
    in.rows = rows;
    std::int64_t prepared_for = -1;  // columns, or -1: nothing
    bool prepared_float16 = false;
    const bool ready = prepared_ && prepared_->x == x.data && prepared_->rows == rows && !index &&
                       bits_of(*prepared_->norm) == bits_of(norm) && streams(weight, rows);
    for (const Segment& segment : weight.segments) {
        const int columns = padded_columns(segment);
        const bool float16 = segment.layout == Layout::f16;
        if (ready) {
            in.x = next_x_.data();
            in.squares = next_squares_.as<float>();
            in.squares_stride = squares_of(x.columns);
            in.eps = norm.eps;
        } else if (norm.kind == NormKind::none && !index && x.dtype == DType::bf16 && !float16 && x.columns == columns &&
                   x.stride == columns) {
            in.x = x.data;  // as it is
            prepared_for = -1;
        } else if (prepared_for != columns || prepared_float16 != float16) {
            std::byte* to = at_least(input_, padded(std::int64_t{rows} * columns * 2));
            prepare_rows(stream_, rows, x, index, norm, columns, float16, to);
            in.x = to;
            prepared_for = columns;
            prepared_float16 = float16;
        }
        in.stride = columns;
        if (streams(weight, rows)) {
            few_rows_product(stream_, in, segment, ending, may_start);
        } else if (blas_.available()) {
            many_rows(rows, in.x, columns, segment, ending);
        } else {
            for (int begin = 0; begin < rows; begin += kMostFewRows) {
                Ending part = ending;
                part.y = static_cast<std::byte*>(ending.y) + begin * ending.stride * (ending.bf16 ? 2 : 4);
                Activations16 some = in;
                some.x = static_cast<const std::byte*>(in.x) + std::int64_t{begin} * columns * 2;
                some.rows = std::min(kMostFewRows, rows - begin);
                few_rows_product(stream_, some, segment, part, false);
            }
        }
    }
}

bool CudaBackend::streams(const CudaWeight& weight, int rows) const {
    return !weight.exact && std::ranges::all_of(weight.segments, [&](const Segment& segment) {
        return rows <= (is_dense(segment.layout) && blas_.available() ? kMostDenseRows : kMostFewRows);
    });
}

// ---- the residual between products --------------------------------------------------------------------------------------

void CudaBackend::note_residual(const Tensor& x, int rows) {
    if (mode_ == Mode::check) residuals_.push_back({x.data, rows});
}

void CudaBackend::note_norm(const Tensor& x, int rows, const Norm& norm, const Linear& linear) {
    if (mode_ != Mode::check || residuals_.empty()) return;
    Residual& last = residuals_.back();
    const CudaWeight& weight = cuda_weight(*linear.weight);
    const bool right = std::ranges::all_of(weight.segments, [&](const Segment& segment) {
        return segment.layout != Layout::f16 && padded_columns(segment) == columns_of(x);
    });
    const bool plain = norm.kind == NormKind::rms && !norm.bias.data;
    if (last.x == x.data && last.rows == rows && plain && right && streams(weight, rows)) last.norm = norm;
}

NextInput CudaBackend::next_input(const Tensor& x, int rows, bool possible) {
    prepared_.reset();
    if (residual_ >= residuals_.size()) return {};  // not in a step
    const Residual& residual = residuals_[residual_++];
    NARAE_CHECK(residual.x == x.data && residual.rows == rows, "a step runs otherwise than it was checked: {} rows, {} were",
                rows, residual.rows);
    if (!residual.norm || !possible) return {};
    prepared_ = residual;
    NextInput next;
    next.x = at_least(next_x_, padded(std::int64_t{rows} * columns_of(x) * 2));
    next.stride = columns_of(x);
    next.norm_weight = residual.norm->weight.as<const float>();
    next.squares_stride = squares_of(columns_of(x));
    next.squares =
        reinterpret_cast<float*>(at_least(next_squares_, padded(std::int64_t{rows} * next.squares_stride * 4), true));
    return next;
}

// ---- block operations ---------------------------------------------------------------------------------------------------

void CudaBackend::embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
                        int position_offset, const Tensor& x) {
    const BatchView v = view(batch, 0);
    note_residual(x, v.rows);
    if (only_checks("embed", v, sampler_.slots(), &table, scale, positions_table, position_offset, x)) return;
    const Segment* positions = positions_table ? &cuda_weight(*positions_table).segments.front() : nullptr;
    cuda::embed(stream_, v, cuda_weight(table).segments.front(), scale, positions, position_offset, sampler_.slots(),
                x.as<float>(), next_input(x, v.rows, true));
}

void CudaBackend::rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) {
    const BatchView v = view(batch, 0);
    const auto known =
        std::ranges::find_if(frequencies_, [&](const Frequencies& f) { return std::ranges::equal(f.values, inv_freq); });
    const float* frequencies = known == frequencies_.end() ? nullptr : known->memory.as<float>();
    if (!frequencies) {
        Frequencies& added = frequencies_.emplace_back();
        added.values.assign(inv_freq.begin(), inv_freq.end());
        added.memory = DeviceMemory(stream_, inv_freq.size_bytes());
        copy_to_device(stream_, added.memory.data(), added.values.data(), inv_freq.size_bytes());
        synchronize(stream_);
        frequencies = added.memory.as<float>();
    }
    if (only_checks("rope_table", v, frequencies, scaling, table)) return;
    cuda::rope_table(stream_, v, frequencies, static_cast<int>(inv_freq.size()), scaling, table.as<float>());
}

void CudaBackend::qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
                      const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
                      const Observer* observer) {
    NARAE_CHECK(!observer || q.dtype == DType::f32, "an observer with activations that are not float32");
    if (observer) return Backend::qkv(batch, x, norm, linear, q_norm, k_norm, rope, rope_table, kv, q, observer);
    const BatchView v = view(batch, kv.group);
    const KvView cache = cuda_storage(*kv.storage).layer(kv.layer);
    note_norm(x, v.rows, norm, linear);
    if (only_checks("qkv", v, x, norm, linear, q_norm, k_norm, rope, rope_table, cache, q)) return;
    const std::int64_t columns = linear.weight->out;
    NARAE_CHECK(columns == columns_of(q) + std::int64_t{2} * cache.kv_heads * cache.head_dim, "qkv: the weight's out is {}",
                columns);
    const CudaWeight& weight = cuda_weight(*linear.weight);
    const HeadRows& laid = weight.heads;
    const bool rotates_where_it_ends =
        rope.rotary_dim == 0 || (laid.head_dim == cache.head_dim && laid.rope.rotary_dim == rope.rotary_dim &&
                                 laid.rope.interleaved == rope.interleaved &&
                                 laid.rows == columns_of(q) + std::int64_t{cache.kv_heads} * cache.head_dim);
    if (!q_norm && !k_norm && rotates_where_it_ends && streams(weight, v.rows)) {
        Ending ending;
        ending.kind = Ending::Kind::heads;
        ending.bias = linear.bias.as<const float>();
        ending.heads = {.heads = static_cast<int>(columns_of(q) / cache.head_dim),
                        .rope = rope,
                        .rope_table = rope_table.as<float>(),
                        .q = matrix_of(q),
                        .kv = cache,
                        .batch = v};
        return product(v.rows, matrix_of(x), nullptr, norm, linear, ending, false);
    }
    // Without the bias, which the heads get later: products that only store need no scratch of their own.
    std::byte* raw = at_least(product_, padded(std::int64_t{v.rows} * columns * 4));
    const Tensor product_tensor = make_tensor(raw, DType::f32, {v.rows, columns});
    const Linear unbiased{.weight = linear.weight, .bias = {}};
    product(v.rows, matrix_of(x), nullptr, norm, unbiased, ending_of(Ending::Kind::store, product_tensor, unbiased), false);
    rotate_and_append(stream_, v, matrix_of(product_tensor), linear.bias.as<const float>(),
                      static_cast<int>(columns_of(q) / cache.head_dim), q_norm, k_norm, rope, rope_table.as<float>(), cache,
                      matrix_of(q));
}

void CudaBackend::attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                            const Tensor& out) {
    const BatchView v = view(batch, kv.group);
    const KvView cache = cuda_storage(*kv.storage).layer(kv.layer);
    if (v.rows != v.sequences) recordable_ = false;
    if (only_checks("attention", v, q, parameters, cache, out)) return;
    const std::size_t bytes =
        attention_scratch_bytes(stream_, v.rows, parameters.heads, cache.head_dim, v.table_stride * kBlockTokens);
    std::byte* memory = at_least(attention_scratch_, bytes, true);
    const bool exact = q.dtype == DType::f32 || cache.type == KvType::f32;
    cuda::attention(stream_, v, batch.row_begin.data(), matrix_of(q), parameters, cache, matrix_of(out), exact, memory);
}

void CudaBackend::project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                              const Tensor& residual, const Observer* observer) {
    if (observer) return Backend::project_add(rows, x, linear, post_norm, scale, residual, observer);
    note_residual(residual, rows);
    if (only_checks("project_add", rows, x, linear, post_norm, scale, residual)) return;
    const bool normed = post_norm && post_norm->kind != NormKind::none;
    const CudaWeight& weight = cuda_weight(*linear.weight);
    const NextInput next = next_input(residual, rows, !normed && weight.segments.size() == 1 && streams(weight, rows));
    if (!normed) {
        Ending ending = ending_of(Ending::Kind::add, residual, linear);
        ending.scale = scale;
        ending.next = next;
        return product(rows, matrix_of(x), nullptr, no_norm(), linear, ending, true);
    }
    const Tensor product_tensor = scratch(1, rows, linear.weight->out);
    product(rows, matrix_of(x), nullptr, no_norm(), linear, ending_of(Ending::Kind::store, product_tensor, linear), true);
    norm_rows(stream_, rows, matrix_of(product_tensor), nullptr, *post_norm, product_tensor.as<float>());
    cuda::add(stream_, std::int64_t{rows} * linear.weight->out, scale, product_tensor.as<float>(), residual.as<float>());
}

void CudaBackend::gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation,
                          const Tensor& y, const Observer* observer) {
    if (observer) return Backend::gate_up(rows, x, norm, linear, activation, y, observer);
    note_norm(x, rows, norm, linear);
    if (only_checks("gate_up", rows, x, norm, linear, activation, y)) return;
    const bool gated = linear.weight->fuse == Fuse::interleaved;
    if (!gated || cuda_weight(*linear.weight).segments.front().interleaved) {
        Ending ending = ending_of(gated ? Ending::Kind::gate : Ending::Kind::activate, y, linear);
        ending.activation = activation;
        return product(rows, matrix_of(x), nullptr, norm, linear, ending, true);
    }
    // Gate and up of different formats lie apart.
    const Tensor both = scratch(1, rows, linear.weight->out);
    product(rows, matrix_of(x), nullptr, norm, linear, ending_of(Ending::Kind::store, both, linear), true);
    gate_apart(stream_, rows, columns_of(y), both.as<float>(), activation, matrix_of(y));
}

void CudaBackend::logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale,
                         float soft_cap, const Tensor& logits, const Observer* observer) {
    const auto rows = static_cast<int>(batch.logit_rows.size());
    if (observer) {
        const BatchView v = view(batch, 0);
        const Tensor input = scratch(0, rows, columns_of(x));
        norm_rows(stream_, rows, matrix_of(x), v.logit_rows, norm, input.as<float>());
        (*observer)(linear, input);
        Ending ending = ending_of(Ending::Kind::logits, logits, linear);
        ending.scale = scale;
        ending.soft_cap = soft_cap;
        return product(rows, matrix_of(input), nullptr, no_norm(), linear, ending, false);
    }
    const BatchView v = view(batch, 0);
    // With one row in the batch its index is known: none is needed.
    const std::int32_t* index = v.rows == 1 ? nullptr : v.logit_rows;
    if (!index) note_norm(x, rows, norm, linear);
    if (only_checks("logits", v, rows, x, norm, linear, scale, soft_cap, logits)) return;
    Ending ending = ending_of(Ending::Kind::logits, logits, linear);
    ending.scale = scale;
    ending.soft_cap = soft_cap;
    product(rows, matrix_of(x), index, norm, linear, ending, false);
}

void CudaBackend::sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) {
    NARAE_CHECK(rows.size() == slots.size(), "{} rows to sample for {} slots", rows.size(), slots.size());
    const auto vocab = static_cast<int>(columns_of(logits));
    const auto count = static_cast<int>(rows.size());
    sampled_rows_ = count;
    if (!in_step_ || mode_ == Mode::check) sampler_.stage(stream_, rows, slots, vocab);
    if (only_checks("sample", logits, count, vocab, sampler_.results())) return;
    sampler_.launch(stream_, logits.as<float>(), count, vocab);
}

// ---- small operations ---------------------------------------------------------------------------------------------------

void CudaBackend::copy_rows(int rows, std::int64_t columns, const Tensor& from, const Tensor& to) {
    if (only_checks("copy_rows", rows, columns, from, to)) return;
    cuda::copy_rows(stream_, rows, columns, from.as<float>(), from.strides[0], to.as<float>(), to.strides[0]);
}

void CudaBackend::norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) {
    if (only_checks("norm", rows, x, norm, y)) return;
    norm_rows(stream_, rows, matrix_of(x), nullptr, norm, y.as<float>());
}

void CudaBackend::linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) {
    if (only_checks("linear", rows, x, linear, y)) return;
    product(rows, matrix_of(x), nullptr, no_norm(), linear, ending_of(Ending::Kind::store, y, linear), false);
}

void CudaBackend::norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                                    const Tensor& rope_table) {
    if (only_checks("norm_rotate_heads", rows, heads, count, head_dim, norm, rope, rope_table)) return;
    cuda::norm_rotate_heads(stream_, rows, heads.as<float>(), count, head_dim, norm, rope, rope_table.as<float>());
}

void CudaBackend::append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) {
    const BatchView b = view(batch, kv.group);
    const KvView cache = cuda_storage(*kv.storage).layer(kv.layer);
    if (only_checks("append_kv", b, k, v, cache)) return;
    cuda::append_kv(stream_, b, k.as<float>(), v.as<float>(), cache);
}

void CudaBackend::activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                           const Tensor& y) {
    if (only_checks("activate", rows, columns, gate, up ? up->data : nullptr, activation, y)) return;
    cuda::activate(stream_, rows * columns, gate.as<float>(), up ? up->as<float>() : nullptr, activation, y.as<float>());
}

void CudaBackend::add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) {
    prepared_.reset();
    if (only_checks("add", rows, columns, scale, x, residual)) return;
    cuda::add(stream_, rows * columns, scale, x.as<float>(), residual.as<float>());
}

// ---- the registered device ----------------------------------------------------------------------------------------------

namespace {

constexpr int kOldestCompute = 8;

std::vector<DeviceInfo> cuda_devices() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    const auto none = [](std::string reason) -> std::vector<DeviceInfo> {
        return {{.name = "cuda", .description = "NVIDIA graphics cards", .usable = false, .reason = std::move(reason)}};
    };
    if (error == cudaErrorInsufficientDriver) {
        int version = 0;
        (void)cudaDriverGetVersion(&version);
        if (version == 0) return none("there is no NVIDIA driver on this machine");
        return none(fmt::format("the NVIDIA driver knows CUDA {}.{}, this build needs {}; update the driver", version / 1000,
                                version % 1000 / 10, CUDART_VERSION / 1000));
    }
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) return none("there is no NVIDIA card");
    if (error != cudaSuccess) return none(fmt::format("the NVIDIA driver says: {}", cudaGetErrorString(error)));
    std::vector<DeviceInfo> all;
    for (int i = 0; i < count; ++i) {
        DeviceInfo info{.name = fmt::format("cuda:{}", i), .description = ""};
        cudaDeviceProp properties{};
        if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
            info.description = fmt::format("{}, compute {}.{}, {:.1f} GiB", properties.name, properties.major, properties.minor,
                                           static_cast<double>(properties.totalGlobalMem) / (1 << 30));
            info.usable = properties.major >= kOldestCompute;
            if (!info.usable)
                info.reason = fmt::format("compute capability {}.{}, need {}.0 (Ampere) or newer", properties.major,
                                          properties.minor, kOldestCompute);
        } else {
            info.usable = false;
            info.reason = "it does not answer";
        }
        all.push_back(std::move(info));
    }
    return all;
}

std::unique_ptr<Backend> open_cuda(const BackendOptions& options) {
    int device = 0;
    if (const std::size_t colon = options.device.find(':'); colon != std::string::npos)
        device = std::stoi(options.device.substr(colon + 1));
    return std::make_unique<CudaBackend>(device, options);
}

const RegisterBackend registered({.prefix = "cuda", .devices = cuda_devices, .open = open_cuda});

}  // namespace
}  // namespace narae::kernels::cuda
