#include "kernels/cpu/cpu_backend.h"

#include "base/error.h"
#include "kernels/cpu/kv_storage.h"
#include "kernels/cpu/weight.h"

#include <algorithm>
#include <cstring>

namespace narae::kernels::cpu {
namespace {

std::size_t padded(std::int64_t bytes) { return static_cast<std::size_t>(ceil_div(bytes, 64) * 64); }
std::size_t floats(std::int64_t rows, std::int64_t columns) { return padded(rows * columns * 4); }

}  // namespace

CpuBackend::CpuBackend(const BackendOptions& options)
    : kernels_(choose_kernels(options.instruction_set.c_str())),
      threads_(options.threads > 0 ? options.threads : usable_processors()),
      stretches_(static_cast<std::size_t>(threads_.threads())),
      thread_regions_(static_cast<std::size_t>(threads_.threads())) {}

std::string CpuBackend::description() const {
    return fmt::format("{}, {} thread{}", kernels_.describe, threads_.threads(), threads_.threads() == 1 ? "" : "s");
}

std::unique_ptr<DeviceWeight> CpuBackend::prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) {
    return make_weight(parts, fuse, activations, kernels_.name, weight_memory_, threads_);
}

std::unique_ptr<DeviceWeight> CpuBackend::prepare_table(const PackedWeight& table) { return make_table(table); }

std::uint64_t CpuBackend::prepared_bytes(std::span<const PackedWeight> parts, Fuse, Activations) const {
    return weight_bytes(parts);
}

Tensor CpuBackend::upload(std::span<const float> values) {
    Buffer& buffer = uploads_.emplace_back(values.size_bytes());
    std::ranges::copy(values, buffer.as<float>().begin());
    return make_tensor(buffer.data(), DType::f32, {static_cast<std::int64_t>(values.size())});
}

std::unique_ptr<KvStorage> CpuBackend::make_kv(const KvGroup& group) { return std::make_unique<CpuKvStorage>(group); }

// Bytes of the arena's parts.
struct CpuBackend::Sizes {
    std::size_t x, attention, ffn, rope, logits, forms, kv_rows, thread, batch;
    std::size_t activations() const { return x + 2 * attention + ffn + 2 * rope; }
    std::size_t scratch(int threads) const { return forms + 2 * kv_rows + static_cast<std::size_t>(threads) * thread; }
};

CpuBackend::Sizes CpuBackend::sizes(const ModelShape& s, const Limits& limits) const {
    const std::int64_t rows = limits.max_rows, attention = std::int64_t{s.heads} * s.head_dim;
    const std::int64_t widest = std::max({std::int64_t{s.hidden}, attention, std::int64_t{s.ffn}});
    Sizes sizes{};
    sizes.x = floats(rows, s.hidden);
    sizes.attention = floats(rows, attention);
    sizes.ffn = floats(rows, s.ffn);
    sizes.rope = floats(rows, s.rotary_dim);
    sizes.logits = floats(limits.max_logit_rows, s.vocab);
    sizes.forms = padded(form_bytes(kFloatForm, widest, rows));
    sizes.kv_rows = floats(rows, std::int64_t{s.kv_heads} * s.head_dim);
    sizes.thread = thread_bytes(widest, limits.max_rows, s.heads, s.head_dim);
    sizes.batch = padded(batch_buffer_elements(limits.max_rows, limits.max_sequences, limits.max_logit_rows, limits.max_context,
                                               static_cast<int>(s.groups.size())) *
                         4);
    return sizes;
}

std::size_t CpuBackend::thread_bytes(std::int64_t in, int rows, int heads, int head_dim) const {
    const std::int64_t attention = head_dim > 0 ? kernels_.attention_scratch_bytes(std::max(kLinesOfItem, heads), head_dim) : 0;
    return std::max(padded(attention), product_bytes(in, rows));
}

std::size_t CpuBackend::product_bytes(std::int64_t in, int rows) const {
    std::size_t bytes = floats(1, in) + padded(kernels_.product_scratch_bytes(rows));
    for (const int form : {kIntForm, kHalfForm, kFloatForm})
        bytes += padded(form_bytes(form, in, std::min(rows, kPrivateRows)));
    return bytes;
}

MemoryPlan CpuBackend::plan(const ModelShape& s, const Limits& limits) const {
    const Sizes size = sizes(s, limits);
    MemoryPlan plan = plan_weights_and_kv(s, limits);
    plan.activations = size.activations();
    plan.logits = size.logits;
    plan.scratch = size.scratch(threads_.threads());
    plan.batch = size.batch;
    return plan;
}

Workspace CpuBackend::allocate(const ModelShape& s, const Limits& limits) {
    const Sizes size = sizes(s, limits);
    arena_ = Buffer(size.activations() + size.logits + size.scratch(threads_.threads()) + size.batch);
    std::size_t used = 0;
    const auto cut = [&](std::size_t bytes) {
        const std::span<std::byte> part = arena_.bytes().subspan(used, bytes);
        used += bytes;
        return part;
    };
    const std::int64_t rows = limits.max_rows, attention = std::int64_t{s.heads} * s.head_dim;
    const auto tensor = [&](std::size_t bytes, Shape shape) { return make_tensor(cut(bytes).data(), DType::f32, shape); };
    Workspace workspace;
    workspace.x = tensor(size.x, {rows, s.hidden});
    workspace.q = tensor(size.attention, {rows, attention});
    workspace.attention = tensor(size.attention, {rows, attention});
    workspace.ffn = tensor(size.ffn, {rows, s.ffn});
    workspace.rope = tensor(size.rope, {rows, 2, s.rotary_dim / 2});
    workspace.rope_local = tensor(size.rope, {rows, 2, s.rotary_dim / 2});
    workspace.logits = tensor(size.logits, {limits.max_logit_rows, s.vocab});
    forms_.place(cut(size.forms));
    keys_.place(cut(size.kv_rows));
    values_.place(cut(size.kv_rows));
    for (Region& region : thread_regions_) region.place(cut(size.thread));
    const std::span<std::byte> batch = cut(size.batch);
    workspace.batch =
        cut_batch_buffers({reinterpret_cast<std::int32_t*>(batch.data()), batch.size() / 4}, limits.max_rows,
                          limits.max_sequences, limits.max_logit_rows, limits.max_context, static_cast<int>(s.groups.size()));
    items_.reserve(static_cast<std::size_t>(limits.max_rows + limits.max_sequences) *
                   static_cast<std::size_t>(std::max(1, s.kv_heads)));
    slots_.resize(std::max(slots_.size(), static_cast<std::size_t>(limits.max_sequences)));
    return workspace;
}

Tensor CpuBackend::scratch(int which, std::int64_t rows, std::int64_t columns) {
    return make_tensor(scratch_.at(static_cast<std::size_t>(which)).get(floats(rows, columns)), DType::f32, {rows, columns});
}

std::int32_t& CpuBackend::slot(std::int32_t index) {
    NARAE_CHECK(index >= 0, "slot {}", index);
    const auto i = static_cast<std::size_t>(index);
    if (slots_.size() <= i) slots_.resize(i + 1);
    return slots_[i];
}

void CpuBackend::sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) {
    NARAE_CHECK(rows.size() == slots.size(), "{} rows to sample for {} slots", rows.size(), slots.size());
    const auto vocab = static_cast<std::size_t>(logits.shape[logits.shape.rank() - 1]);
    sampled_.resize(rows.size());
    threads_.parallel_for(static_cast<std::int64_t>(rows.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
            sampled_[i] = sample_token({logits.as<float>() + i * vocab, vocab}, rows[i]);
    });
    for (std::size_t i = 0; i < rows.size(); ++i) {
        slot(slots[i]) = sampled_[i].id;
        record_sampled(sampled_[i]);
    }
}

void CpuBackend::copy_to_host(const Tensor& from, std::span<std::byte> to) {
    NARAE_CHECK(to.size() <= static_cast<std::size_t>(from.shape.elements() * dtype_bits(from.dtype) / 8),
                "copy of {} bytes from {}", to.size(), from.shape.to_string());
    if (!to.empty()) std::memcpy(to.data(), from.data, to.size());
}

void CpuBackend::copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) {
    cpu_storage(storage).copy_block(from, to);
}

namespace {

std::vector<DeviceInfo> cpu_devices() {
    return {{.name = "cpu",
             .description = choose_kernels("").describe,
             .usable = true,
             .reason = "",
             .instruction_sets = usable_kernels()}};
}

std::unique_ptr<Backend> open_cpu(const BackendOptions& options) { return std::make_unique<CpuBackend>(options); }

const RegisterBackend registered({.prefix = "cpu", .devices = cpu_devices, .open = open_cpu});

}  // namespace
}  // namespace narae::kernels::cpu
