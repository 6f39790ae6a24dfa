// The device "ref": every operation as its definition, one row after the other. The specification that the other backends
// are tested against, not a way to run models.
#include "base/error.h"
#include "kernels/activation_rounding.h"
#include "kernels/backend.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/kv_storage.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <list>
#include <map>

namespace narae::kernels::ref {
namespace {

// Weights as f32 (prepare) or a view of the packed table whose rows are unpacked when they are looked up (prepare_table).
struct RefWeight final : DeviceWeight {
    std::vector<float> values;  // [out, in], parts in order
    PackedWeight table;

    void row(std::int64_t index, float* to) const {
        if (!values.empty())
            std::copy_n(values.begin() + index * in, in, to);
        else
            table.format->unpack(table, index, index + 1, to);
    }
};

const RefWeight& ref_weight(const DeviceWeight& weight) {
    const auto* found = dynamic_cast<const RefWeight*>(&weight);
    NARAE_CHECK(found, "a weight of another backend ({})", weight.kernel);
    return *found;
}

RefKvStorage& ref_storage(KvStorage& storage) {
    auto* found = dynamic_cast<RefKvStorage*>(&storage);
    NARAE_CHECK(found, "a KV cache of another backend");
    return *found;
}

std::int64_t columns_of(const Tensor& tensor) { return tensor.shape[tensor.shape.rank() - 1]; }
float* row_of(const Tensor& tensor, std::int64_t row) { return tensor.as<float>() + row * columns_of(tensor); }

// The block and the offset in it of one position of a sequence.
std::pair<std::int32_t, int> find_block(const Batch& batch, const KvLayer& kv, std::int32_t sequence, std::int32_t position) {
    const auto& table = batch.block_tables.at(static_cast<std::size_t>(kv.group));
    return {table[static_cast<std::size_t>(sequence) * static_cast<std::size_t>(batch.table_stride) +
                  static_cast<std::size_t>(position / kBlockTokens)],
            position % kBlockTokens};
}

std::uint64_t float_bytes(std::int64_t rows, std::int64_t columns) {
    return static_cast<std::uint64_t>(rows * columns) * sizeof(float);
}

std::size_t batch_elements(const ModelShape& s, const Limits& limits) {
    return static_cast<std::size_t>(batch_buffer_elements(limits.max_rows, limits.max_sequences, limits.max_logit_rows,
                                                          limits.max_context, static_cast<int>(s.groups.size())));
}

class RefBackend final : public Backend {
public:
    std::string_view device() const override { return "ref"; }
    std::string description() const override { return "reference operations in double precision, 1 thread"; }

    std::unique_ptr<DeviceWeight> prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) override;
    std::unique_ptr<DeviceWeight> prepare_table(const PackedWeight& table) override;
    std::uint64_t prepared_bytes(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) const override;
    Tensor upload(std::span<const float> values) override;
    std::unique_ptr<KvStorage> make_kv(const KvGroup& group) override { return std::make_unique<RefKvStorage>(group); }
    MemoryPlan plan(const ModelShape& shape, const Limits& limits) const override;
    Workspace allocate(const ModelShape& shape, const Limits& limits) override;

    void embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
               int position_offset, const Tensor& x) override;
    void rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) override;
    void attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                   const Tensor& out) override;
    void logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale, float soft_cap,
                const Tensor& logits, const Observer* observer) override;
    void sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) override;

    void copy_to_host(const Tensor& from, std::span<std::byte> to) override;
    void copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) override {
        ref_storage(storage).copy_block(from, to);
    }

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
    std::int32_t& slot(std::int32_t index);

    std::list<Buffer> owned_;  // uploads and workspaces
    std::map<int, Buffer> scratch_;
    std::vector<std::int32_t> slots_;  // the token last sampled in each
};

std::unique_ptr<DeviceWeight> RefBackend::prepare(std::span<const PackedWeight> parts, Fuse fuse, Activations activations) {
    NARAE_CHECK(!parts.empty(), "prepare: no weights");
    NARAE_CHECK(fuse != Fuse::none || parts.size() == 1, "prepare: {} weights without fusing", parts.size());
    auto weight = std::make_unique<RefWeight>();
    weight->in = parts.front().in;
    weight->fuse = fuse;
    for (const PackedWeight& part : parts) {
        NARAE_CHECK(part.in == weight->in, "prepare: {} has in {}, the first weight {}", part.name, part.in, weight->in);
        NARAE_CHECK(fuse != Fuse::interleaved || (parts.size() == 2 && part.out == parts.front().out),
                    "prepare: {} of {} rows cannot be interleaved", part.name, part.out);
        weight->out += part.out;
        weight->parts.push_back(part.out);
        const bool rounds = activations == Activations::int8 && rounds_activations(*part.format);
        weight->activations.push_back(rounds ? Activations::int8 : Activations::f32);
        const std::vector<float> values = unpack_all(part);
        weight->values.insert(weight->values.end(), values.begin(), values.end());
        weight->kernel +=
            fmt::format("{}{} as f32{}", weight->kernel.empty() ? "" : " + ", part.format->name, rounds ? " x int8" : "");
    }
    weight->bytes = weight->values.size() * sizeof(float);
    return weight;
}

std::unique_ptr<DeviceWeight> RefBackend::prepare_table(const PackedWeight& table) {
    auto weight = std::make_unique<RefWeight>();
    weight->out = table.out;
    weight->in = table.in;
    weight->parts = {table.out};
    weight->activations = {Activations::f32};
    weight->table = table;
    weight->kernel = fmt::format("{} rows", table.format->name);
    return weight;
}

std::uint64_t RefBackend::prepared_bytes(std::span<const PackedWeight> parts, Fuse, Activations) const {
    std::uint64_t bytes = 0;
    for (const PackedWeight& part : parts) bytes += float_bytes(part.out, part.in);
    return bytes;
}

Tensor RefBackend::upload(std::span<const float> values) {
    Buffer& buffer = owned_.emplace_back(values.size_bytes());
    std::ranges::copy(values, buffer.as<float>().begin());
    return make_tensor(buffer.data(), DType::f32, {static_cast<std::int64_t>(values.size())});
}

MemoryPlan RefBackend::plan(const ModelShape& s, const Limits& limits) const {
    const std::int64_t attention = std::int64_t{s.heads} * s.head_dim, kv = std::int64_t{s.kv_heads} * s.head_dim;
    const std::int64_t widest =
        std::max({std::int64_t{s.hidden}, attention + 2 * kv, std::int64_t{s.gated ? 2 * s.ffn : s.ffn}});
    MemoryPlan plan = plan_weights_and_kv(s, limits);
    plan.activations = float_bytes(limits.max_rows, s.hidden + 2 * attention + s.ffn + 2 * s.rotary_dim);
    plan.logits = float_bytes(limits.max_logit_rows, s.vocab);
    plan.scratch = float_bytes(limits.max_rows, widest) * kCompositionScratch;
    plan.batch = sizeof(std::int32_t) * batch_elements(s, limits);
    return plan;
}

Workspace RefBackend::allocate(const ModelShape& s, const Limits& limits) {
    const auto tensor = [&](Shape shape) {
        Buffer& buffer = owned_.emplace_back(static_cast<std::size_t>(shape.elements()) * sizeof(float));
        return make_tensor(buffer.data(), DType::f32, shape);
    };
    const std::int64_t rows = limits.max_rows, attention = std::int64_t{s.heads} * s.head_dim;
    Buffer& batch = owned_.emplace_back(batch_elements(s, limits) * sizeof(std::int32_t));
    return {.x = tensor({rows, s.hidden}),
            .q = tensor({rows, attention}),
            .attention = tensor({rows, attention}),
            .ffn = tensor({rows, s.ffn}),
            .rope = tensor({rows, 2, s.rotary_dim / 2}),
            .rope_local = tensor({rows, 2, s.rotary_dim / 2}),
            .logits = tensor({limits.max_logit_rows, s.vocab}),
            .batch = cut_batch_buffers(batch.as<std::int32_t>(), limits.max_rows, limits.max_sequences, limits.max_logit_rows,
                                       limits.max_context, static_cast<int>(s.groups.size()))};
}

std::int32_t& RefBackend::slot(std::int32_t index) {
    NARAE_CHECK(index >= 0, "slot {}", index);
    const auto i = static_cast<std::size_t>(index);
    if (slots_.size() <= i) slots_.resize(i + 1);
    return slots_[i];
}

void RefBackend::embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
                       int position_offset, const Tensor& x) {
    const RefWeight& tokens = ref_weight(table);
    std::vector<float> values(static_cast<std::size_t>(tokens.in));
    for (int r = 0; r < batch.rows; ++r) {
        std::int32_t id = batch.ids[static_cast<std::size_t>(r)];
        if (id < 0) id = slot(-1 - id);
        NARAE_CHECK(id < tokens.out, "token {} of {}", id, tokens.out);
        tokens.row(id, values.data());
        float* to = row_of(x, r);
        for (std::int64_t i = 0; i < tokens.in; ++i) to[i] = values[static_cast<std::size_t>(i)] * scale;
        if (!positions_table) continue;
        const std::int64_t position = batch.positions[static_cast<std::size_t>(r)] + std::int64_t{position_offset};
        NARAE_CHECK(position >= 0 && position < positions_table->out && positions_table->in == tokens.in, "position {} of {}",
                    position, positions_table->out);
        ref_weight(*positions_table).row(position, values.data());
        for (std::int64_t i = 0; i < tokens.in; ++i) to[i] += values[static_cast<std::size_t>(i)];
    }
}

void RefBackend::rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) {
    for (int r = 0; r < batch.rows; ++r)
        rope_row(batch.positions[static_cast<std::size_t>(r)], inv_freq, scaling,
                 table.as<float>() + static_cast<std::size_t>(r) * 2 * inv_freq.size());
}

void RefBackend::attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                           const Tensor& out) {
    const RefKvStorage& storage = ref_storage(*kv.storage);
    const KvGroup& group = storage.group();
    NARAE_CHECK(parameters.heads > 0 && parameters.heads % group.kv_heads == 0, "{} heads over {} kv heads", parameters.heads,
                group.kv_heads);
    const int share = parameters.heads / group.kv_heads;
    const auto head_dim = static_cast<std::size_t>(group.head_dim);
    std::vector<float> keys, values;
    for (int r = 0; r < batch.rows; ++r) {
        const std::int32_t position = batch.positions[static_cast<std::size_t>(r)];
        const std::int32_t first = group.window > 0 ? std::max(0, position - group.window + 1) : 0;
        const auto count = static_cast<std::size_t>(position - first + 1);
        for (int kv_head = 0; kv_head < group.kv_heads; ++kv_head) {
            keys.resize(count * head_dim);
            values.resize(count * head_dim);
            for (std::size_t j = 0; j < count; ++j) {
                const auto [block, offset] = find_block(batch, kv, batch.row_sequence[static_cast<std::size_t>(r)],
                                                        first + static_cast<std::int32_t>(j));
                storage.load(kv.layer, KvPart::key, block, offset, kv_head, &keys[j * head_dim]);
                storage.load(kv.layer, KvPart::value, block, offset, kv_head, &values[j * head_dim]);
            }
            for (int head = kv_head * share; head < (kv_head + 1) * share; ++head) {
                HeadParameters of_head{
                    .scale = parameters.scale, .soft_cap = parameters.soft_cap, .alibi_slope = 0.0f, .sink = {}};
                if (parameters.alibi_slopes.data) of_head.alibi_slope = parameters.alibi_slopes.as<float>()[head];
                if (parameters.sinks.data) of_head.sink = parameters.sinks.as<float>()[head];
                const std::int64_t column = std::int64_t{head} * group.head_dim;
                attend(row_of(q, r) + column, static_cast<std::int64_t>(count), group.head_dim, keys.data(), values.data(),
                       of_head, row_of(out, r) + column);
            }
        }
    }
}

void RefBackend::logits(const Batch& batch, const Tensor& x, const Norm& of_x, const Linear& of_x_out, float scale,
                        float soft_cap, const Tensor& logits, const Observer* observer) {
    const auto rows = static_cast<int>(batch.logit_rows.size());
    const std::int64_t hidden = columns_of(x), vocab = of_x_out.weight->out;
    const Tensor input = scratch(0, rows, hidden);
    for (int i = 0; i < rows; ++i)
        ref::norm(hidden, row_of(x, batch.logit_rows[static_cast<std::size_t>(i)]), of_x, row_of(input, i));
    if (observer) (*observer)(of_x_out, input);
    linear(rows, input, of_x_out, logits);
    for (std::int64_t i = 0; i < rows * vocab; ++i) {
        float& logit = logits.as<float>()[i];
        double value = static_cast<double>(logit) * static_cast<double>(scale);
        if (soft_cap > 0.0f) value = static_cast<double>(soft_cap) * std::tanh(value / static_cast<double>(soft_cap));
        logit = static_cast<float>(value);
    }
}

void RefBackend::sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) {
    NARAE_CHECK(rows.size() == slots.size(), "{} rows to sample for {} slots", rows.size(), slots.size());
    const auto vocab = static_cast<std::size_t>(columns_of(logits));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Sampled sampled = sample_token({row_of(logits, static_cast<std::int64_t>(i)), vocab}, rows[i]);
        slot(slots[i]) = sampled.id;
        record_sampled(sampled);
    }
}

void RefBackend::copy_to_host(const Tensor& from, std::span<std::byte> to) {
    NARAE_CHECK(to.size() <= static_cast<std::size_t>(from.shape.elements() * dtype_bits(from.dtype) / 8),
                "copy of {} bytes from {}", to.size(), from.shape.to_string());
    if (!to.empty()) std::memcpy(to.data(), from.data, to.size());
}

Tensor RefBackend::scratch(int which, std::int64_t rows, std::int64_t columns) {
    Buffer& buffer = scratch_[which];
    const auto bytes = static_cast<std::size_t>(float_bytes(rows, columns));
    if (buffer.size() < bytes) buffer = Buffer(bytes);
    return make_tensor(buffer.data(), DType::f32, {rows, columns});
}

void RefBackend::norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) {
    for (int r = 0; r < rows; ++r) ref::norm(columns_of(x), row_of(x, r), norm, row_of(y, r));
}

void RefBackend::linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) {
    const RefWeight& weight = ref_weight(*linear.weight);
    NARAE_CHECK(!weight.values.empty(), "linear: a table that is only looked up");
    std::vector<double> seen(static_cast<std::size_t>(weight.in));
    for (int r = 0; r < rows; ++r) {
        std::int64_t begin = 0;
        for (std::size_t part = 0; part < weight.parts.size(); ++part) {
            seen_activations(weight.in, row_of(x, r), weight.activations[part], seen.data());
            ref::linear(weight.in, weight.parts[part], seen.data(), weight.values.data() + begin * weight.in,
                        linear.bias.data ? linear.bias.as<float>() + begin : nullptr, row_of(y, r) + begin);
            begin += weight.parts[part];
        }
    }
}

void RefBackend::norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                                   const Tensor& rope_table) {
    for (int r = 0; r < rows; ++r)
        for (int h = 0; h < count; ++h) {
            float* head = row_of(heads, r) + std::int64_t{h} * head_dim;
            if (norm) ref::norm(head_dim, head, *norm, head);
            if (rope.rotary_dim > 0) rotate(head, rope, rope_table.as<float>() + std::int64_t{r} * rope.rotary_dim);
        }
}

void RefBackend::append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) {
    RefKvStorage& storage = ref_storage(*kv.storage);
    for (int r = 0; r < batch.rows; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const auto [block, offset] = find_block(batch, kv, batch.row_sequence[row], batch.positions[row]);
        for (int h = 0; h < storage.group().kv_heads; ++h) {
            const std::int64_t column = std::int64_t{h} * storage.group().head_dim;
            storage.store(kv.layer, KvPart::key, block, offset, h, row_of(k, r) + column);
            storage.store(kv.layer, KvPart::value, block, offset, h, row_of(v, r) + column);
        }
    }
}

void RefBackend::activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                          const Tensor& y) {
    for (std::int64_t i = 0; i < rows * columns; ++i) {
        const double value = ref::activate(activation, static_cast<double>(gate.as<float>()[i]));
        y.as<float>()[i] = static_cast<float>(up ? value * static_cast<double>(up->as<float>()[i]) : value);
    }
}

void RefBackend::add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) {
    for (std::int64_t i = 0; i < rows * columns; ++i)
        residual.as<float>()[i] = static_cast<float>(static_cast<double>(residual.as<float>()[i]) +
                                                     static_cast<double>(scale) * static_cast<double>(x.as<float>()[i]));
}

std::vector<DeviceInfo> ref_devices() {
    return {{.name = "ref", .description = "reference operations, slow: the specification", .usable = true, .reason = ""}};
}

std::unique_ptr<Backend> open_ref(const BackendOptions&) { return std::make_unique<RefBackend>(); }

const RegisterBackend registered({.prefix = "ref", .devices = ref_devices, .open = open_ref});

}  // namespace
}  // namespace narae::kernels::ref
