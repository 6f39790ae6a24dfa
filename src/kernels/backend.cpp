#include "kernels/backend.h"

#include "base/error.h"
#include "base/memory.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace narae::kernels {
namespace {

enum CompositionScratch : int { kNormed = 0, kProduct = 1, kSecond = 2, kThird = 3 };

std::int64_t columns_of(const Tensor& tensor) { return tensor.shape[tensor.shape.rank() - 1]; }

// The first `rows` rows of a tensor whose rows lie one after the other.
Tensor first_rows(const Tensor& tensor, std::int64_t rows) {
    return make_tensor(tensor.data, DType::f32, {rows, columns_of(tensor)});
}

// Columns [begin, begin + count) of every row.
Tensor columns(const Tensor& tensor, std::int64_t begin, std::int64_t count) {
    Tensor view = tensor;
    if (tensor.data) view.data += begin * static_cast<std::int64_t>(sizeof(float));  // null: no rows
    view.shape = {tensor.shape[0], count};
    return view;
}

void check_input(const Linear& linear, const Tensor& x, std::string_view operation) {
    NARAE_CHECK(linear.weight != nullptr, "{}: no weight", operation);
    NARAE_CHECK(columns_of(x) == linear.weight->in, "{}: x has {} columns, the weight's in is {}", operation, columns_of(x),
                linear.weight->in);
}

// W norm(x) + b in scratch, shown to the observer.
Tensor norm_linear(Backend& backend, int rows, const Tensor& x, const Norm& norm, const Linear& linear,
                   const Observer* observer) {
    Tensor input = first_rows(x, rows);
    if (norm.kind != NormKind::none) {
        const Tensor normed = backend.scratch(kNormed, rows, columns_of(x));
        backend.norm(rows, input, norm, normed);
        input = normed;
    }
    if (observer) (*observer)(linear, input);
    const Tensor product = backend.scratch(kProduct, rows, linear.weight->out);
    backend.linear(rows, input, linear, product);
    return product;
}

std::vector<BackendFactory>& factories() {
    static std::vector<BackendFactory> all;
    return all;
}

// What "auto" prefers comes first.
int rank_of(std::string_view prefix) {
    constexpr std::array<std::string_view, 3> kOrder = {"cuda", "cpu", "ref"};
    return static_cast<int>(std::ranges::find(kOrder, prefix) - kOrder.begin());
}

std::string known_devices() {
    std::string names = "auto";
    for (const BackendFactory& factory : factories()) names += fmt::format(", {}", factory.prefix);
    return names;
}

const BackendFactory* find_factory(std::string_view prefix) {
    const auto found = std::ranges::find(factories(), prefix, &BackendFactory::prefix);
    return found == factories().end() ? nullptr : &*found;
}

std::unique_ptr<Backend> open_best(BackendOptions options) {
    for (const BackendFactory& factory : factories()) {
        if (factory.prefix == "ref") continue;
        for (const DeviceInfo& device : factory.devices()) {
            if (!device.usable) continue;
            options.device = device.name;
            return factory.open(options);
        }
    }
    throw_error<ResourceError>(
        "device auto: this build has no usable device; try --device ref, or a build with the CPU backend");
}

}  // namespace

MemoryPlan plan_weights_and_kv(const ModelShape& shape, const Limits& limits) {
    MemoryPlan plan;
    plan.weights = shape.weight_bytes;
    const std::int64_t blocks_of_sequence = (limits.max_context + kBlockTokens - 1) / kBlockTokens;
    for (const KvGroup& group : shape.groups) {
        const auto bytes = static_cast<std::uint64_t>(group.block_bytes());
        plan.kv_per_block += bytes;
        plan.kv += bytes * static_cast<std::uint64_t>(blocks_of_sequence * limits.max_sequences);
    }
    if (limits.kv_bytes > 0) plan.kv = std::min(plan.kv, static_cast<std::uint64_t>(limits.kv_bytes));
    return plan;
}

std::unique_ptr<DeviceWeight> Backend::prepare_qkv(std::span<const PackedWeight> parts, const HeadRows&,
                                                   Activations activations) {
    return prepare(parts, Fuse::rows, activations);
}
std::uint64_t Backend::prepared_table_bytes(const PackedWeight&) const { return 0; }
std::uint64_t Backend::device_used_bytes() const { return 0; }
double Backend::measure_device_bandwidth() { return 0.0; }
int Backend::step_rows() const { return 512; }
std::uint64_t Backend::available_bytes() const { return narae::available_bytes(); }

Ticket Backend::step(StepKey, FunctionRef<void()> forward) {
    ++last_ticket_;
    sampled_[last_ticket_ % kTicketsKept].clear();
    forward();
    return last_ticket_;
}

std::span<const Sampled> Backend::wait(Ticket ticket) {
    NARAE_CHECK(ticket <= last_ticket_ && ticket + kTicketsKept > last_ticket_, "ticket {}, the last is {}, {} are kept",
                ticket, last_ticket_, kTicketsKept);
    return sampled_[ticket % kTicketsKept];
}

void Backend::record_sampled(const Sampled& sampled) { sampled_[last_ticket_ % kTicketsKept].push_back(sampled); }

void Backend::qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
                  const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
                  const Observer* observer) {
    check_input(linear, x, "qkv");
    const KvGroup& group = kv.storage->group();
    const std::int64_t q_columns = columns_of(q), kv_columns = std::int64_t{group.kv_heads} * group.head_dim;
    NARAE_CHECK(linear.weight->out == q_columns + 2 * kv_columns, "qkv: the weight's out is {}, q has {} columns, k and v {}",
                linear.weight->out, q_columns, kv_columns);
    const int rows = batch.rows;
    const Tensor product = norm_linear(*this, rows, x, norm, linear, observer);
    const Tensor k = scratch(kSecond, rows, kv_columns), v = scratch(kThird, rows, kv_columns);
    copy_rows(rows, q_columns, columns(product, 0, q_columns), q);
    copy_rows(rows, kv_columns, columns(product, q_columns, kv_columns), k);
    copy_rows(rows, kv_columns, columns(product, q_columns + kv_columns, kv_columns), v);
    norm_rotate_heads(rows, q, static_cast<int>(q_columns / group.head_dim), group.head_dim, q_norm, rope, rope_table);
    norm_rotate_heads(rows, k, group.kv_heads, group.head_dim, k_norm, rope, rope_table);
    append_kv(batch, k, v, kv);
}

void Backend::project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                          const Tensor& residual, const Observer* observer) {
    check_input(linear, x, "project_add");
    NARAE_CHECK(linear.weight->out == columns_of(residual), "project_add: the weight's out is {}, the residual has {} columns",
                linear.weight->out, columns_of(residual));
    Norm no_norm;
    no_norm.kind = NormKind::none;
    Tensor product = norm_linear(*this, rows, x, no_norm, linear, observer);
    if (post_norm && post_norm->kind != NormKind::none) {
        const Tensor normed = scratch(kSecond, rows, linear.weight->out);
        norm(rows, product, *post_norm, normed);
        product = normed;
    }
    add(rows, linear.weight->out, scale, product, residual);
}

void Backend::gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation, const Tensor& y,
                      const Observer* observer) {
    check_input(linear, x, "gate_up");
    const bool gated = linear.weight->fuse == Fuse::interleaved;
    const std::int64_t ffn = columns_of(y);
    NARAE_CHECK(linear.weight->out == (gated ? 2 * ffn : ffn), "gate_up: the weight's out is {}, y has {} columns",
                linear.weight->out, ffn);
    const Tensor product = norm_linear(*this, rows, x, norm, linear, observer);
    if (!gated) {
        activate(rows, ffn, product, nullptr, activation, y);
        return;
    }
    const Tensor gate = scratch(kSecond, rows, ffn), up = scratch(kThird, rows, ffn);
    copy_rows(rows, ffn, columns(product, 0, ffn), gate);
    copy_rows(rows, ffn, columns(product, ffn, ffn), up);
    activate(rows, ffn, gate, &up, activation, y);
}

void Backend::copy_rows(int rows, std::int64_t columns, const Tensor& from, const Tensor& to) {
    for (int row = 0; row < rows; ++row)
        std::memcpy(to.as<float>() + row * to.strides[0], from.as<float>() + row * from.strides[0],
                    static_cast<std::size_t>(columns) * sizeof(float));
}

RegisterBackend::RegisterBackend(const BackendFactory& factory) {
    NARAE_CHECK(!find_factory(factory.prefix), "two backends for {}", factory.prefix);
    const auto after = std::ranges::find_if(
        factories(), [&](const BackendFactory& other) { return rank_of(other.prefix) > rank_of(factory.prefix); });
    factories().insert(after, factory);
}

std::vector<DeviceInfo> devices() {
    std::vector<DeviceInfo> all;
    for (const BackendFactory& factory : factories())
        for (DeviceInfo& device : factory.devices()) all.push_back(std::move(device));
    return all;
}

std::unique_ptr<Backend> open_backend(const BackendOptions& options) {
    if (options.threads < 0)
        throw_error<UsageError>("threads: found {}, need a positive number, or 0 for all", options.threads);
    if (options.device == "auto") return open_best(options);
    const std::string_view device = options.device;
    const std::size_t colon = device.find(':');
    const BackendFactory* factory = find_factory(device.substr(0, colon));
    if (!factory) throw_error<UsageError>("device {}: unknown; need one of {}", device, known_devices());
    if (colon != std::string_view::npos) {
        const std::string_view digits = device.substr(colon + 1);
        int number = -1;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error != std::errc{} || end != digits.data() + digits.size() || number < 0)
            throw_error<UsageError>("device {}: found \"{}\" after the colon, need a number as in cuda:0", device, digits);
    }
    const std::vector<DeviceInfo> present = factory->devices();
    const auto found = colon == std::string_view::npos ? std::ranges::find(present, true, &DeviceInfo::usable)
                                                       : std::ranges::find(present, device, &DeviceInfo::name);
    if (found != present.end() && found->usable) {
        BackendOptions chosen = options;
        chosen.device = found->name;
        return factory->open(chosen);
    }
    const std::string reason = found != present.end() ? found->reason : present.empty() ? "" : present.front().reason;
    throw_error<ResourceError>("device {}: {}; try --device auto", device,
                               reason.empty() ? "this machine has no such device" : reason);
}

}  // namespace narae::kernels
