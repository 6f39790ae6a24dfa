#include "support/faulty_backend.h"

#include "base/error.h"

#include <algorithm>
#include <limits>

namespace narae::test {
namespace {

using namespace kernels;  // NOLINT: the whole file is about its types

class FaultyStorage final : public KvStorage {
public:
    FaultyStorage(std::unique_ptr<KvStorage> inner, FaultyBackend& backend)
        : KvStorage(inner->group()), inner_(std::move(inner)), backend_(backend) {}
    void reserve_blocks(std::int64_t count) override {
        backend_.count("reserve_blocks");
        inner_->reserve_blocks(count);
    }
    std::int64_t reserved_blocks() const override { return inner_->reserved_blocks(); }
    KvStorage& inner() const { return *inner_; }

private:
    std::unique_ptr<KvStorage> inner_;
    FaultyBackend& backend_;
};

KvStorage& inner_storage(KvStorage& storage) {
    const auto* faulty = dynamic_cast<FaultyStorage*>(&storage);
    NARAE_CHECK(faulty, "a KV cache of another backend");
    return faulty->inner();
}

KvLayer inner_layer(const KvLayer& kv) { return {&inner_storage(*kv.storage), kv.group, kv.layer}; }

void poison(const Tensor& output) {
    if (output.shape.elements() == 0) return;
    std::fill_n(output.as<float>(), output.shape.elements() / output.shape[0], std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

void FaultyBackend::arm(std::int64_t at, Fault fault) {
    at_ = at;
    fault_ = fault;
    calls_ = 0;
}

bool FaultyBackend::count(std::string_view operation) {
    if (calls_++ != at_) return false;
    if (fault_ == Fault::fail) throw_error<InternalError>("{}: call {} failed as a test asked", operation, at_);
    if (fault_ == Fault::exhaust) throw_error<ResourceError>("{}: call {} found no memory as a test asked", operation, at_);
    return true;
}

std::unique_ptr<KvStorage> FaultyBackend::make_kv(const KvGroup& group) {
    return std::make_unique<FaultyStorage>(inner_.make_kv(group), *this);
}

void FaultyBackend::embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
                          int position_offset, const Tensor& x) {
    const bool poisoned = count("embed");
    inner_.embed(batch, table, scale, positions_table, position_offset, x);
    if (poisoned) poison(x);
}

void FaultyBackend::rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) {
    const bool poisoned = count("rope_table");
    inner_.rope_table(batch, inv_freq, scaling, table);
    if (poisoned) poison(table);
}

void FaultyBackend::qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
                        const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
                        const Observer* observer) {
    const bool poisoned = count("qkv");
    inner_.qkv(batch, x, norm, linear, q_norm, k_norm, rope, rope_table, inner_layer(kv), q, observer);
    if (poisoned) poison(q);
}

void FaultyBackend::attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                              const Tensor& out) {
    const bool poisoned = count("attention");
    inner_.attention(batch, q, parameters, inner_layer(kv), out);
    if (poisoned) poison(out);
}

void FaultyBackend::project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                                const Tensor& residual, const Observer* observer) {
    const bool poisoned = count("project_add");
    inner_.project_add(rows, x, linear, post_norm, scale, residual, observer);
    if (poisoned) poison(residual);
}

void FaultyBackend::gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation,
                            const Tensor& y, const Observer* observer) {
    const bool poisoned = count("gate_up");
    inner_.gate_up(rows, x, norm, linear, activation, y, observer);
    if (poisoned) poison(y);
}

void FaultyBackend::logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale,
                           float soft_cap, const Tensor& logits, const Observer* observer) {
    const bool poisoned = count("logits");
    inner_.logits(batch, x, norm, linear, scale, soft_cap, logits, observer);
    if (poisoned) poison(logits);
}

void FaultyBackend::sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<const std::int32_t> slots) {
    if (count("sample")) poison(logits);
    inner_.sample(logits, rows, slots);
}

void FaultyBackend::copy_block(KvStorage& storage, std::int32_t from, std::int32_t to) {
    count("copy_block");
    inner_.copy_block(inner_storage(storage), from, to);
}

void FaultyBackend::norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) { inner_.norm(rows, x, norm, y); }

void FaultyBackend::linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) {
    inner_.linear(rows, x, linear, y);
}

void FaultyBackend::append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) {
    inner_.append_kv(batch, k, v, inner_layer(kv));
}

}  // namespace narae::test
