// The block operations qkv, project_add, gate_up and logits on every device against the reference, fused and as the
// composition that an observer sees.
#include "base/error.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/rope.h"
#include "support/tested_devices.h"
#include "support/tolerance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

namespace narae::test {
namespace {

using kernels::Activation;
using kernels::Activations;
using kernels::Fuse;
using kernels::KvType;
using kernels::Linear;
using kernels::Norm;
using kernels::NormKind;
using kernels::Observer;
using kernels::Rope;

constexpr std::array kRowCounts = {0, 1, 2, 7, 33, 70};
constexpr int kMostRows = 70;
constexpr std::int64_t kHidden = 256;

// Weights of one fused call and their bias.
struct Parts {
    Parts(std::initializer_list<std::pair<const char*, std::int64_t>> list, std::int64_t in, Fuse fuse_, bool biased)
        : fuse(fuse_) {
        std::uint64_t seed = 900;
        std::int64_t out = 0;
        for (const auto& [name, rows] : list) {
            known.push_back(known_weight(*find_format(name), rows, in, ++seed));
            packed.push_back(known.back().packed.weight);
            names += std::string(names.empty() ? "" : " ") + name;
            out += rows;
        }
        if (biased) bias = random_values(static_cast<std::size_t>(out), ++seed, 0.3f);
    }
    std::vector<KnownWeight> known;
    std::vector<PackedWeight> packed;
    std::vector<float> bias;
    std::string names;
    Fuse fuse;
    kernels::HeadRows heads;  // of qkv

    // W x + b of one row, the parts one after the other.
    KnownOutput product(const KnownInput& x, std::span<const Activations> seen) const {
        KnownOutput all;
        for (std::size_t p = 0; p < known.size(); ++p) {
            const KnownOutput part =
                known_product(x, known[p], bias.empty() ? nullptr : bias.data() + all.values.size(), seen[p]);
            all.values.insert(all.values.end(), part.values.begin(), part.values.end());
            all.errors.insert(all.errors.end(), part.errors.begin(), part.errors.end());
        }
        return all;
    }
};

// A norm whose vectors are host memory for the reference, and the same on a device.
struct NormCase {
    NormCase(NormKind kind, std::int64_t columns, bool biased) : weight(static_cast<std::size_t>(columns)) {
        for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = 0.5f + 0.01f * static_cast<float>(i % 97);
        if (biased) bias = random_values(weight.size(), 31, 0.1f);
        host.kind = kind;
        host.eps = 1e-5f;
        host.weight = make_tensor(weight.data(), DType::f32, {columns});
        if (biased) host.bias = make_tensor(bias.data(), DType::f32, {columns});
    }
    NormCase(const NormCase&) = delete;
    std::vector<float> weight, bias;
    Norm host;
};

struct DeviceNorm {
    DeviceNorm(TestedDevice& device, const NormCase& c)
        : weight(device, 1, static_cast<std::int64_t>(c.weight.size()), c.weight),
          bias(device, 1, static_cast<std::int64_t>(c.bias.size()), c.bias),
          norm(c.host) {
        norm.weight = weight.vector();
        if (!c.bias.empty()) norm.bias = bias.vector();
    }
    Guarded weight, bias;
    Norm norm;
};

struct DeviceLinear {
    DeviceLinear(TestedDevice& device, const Parts& parts, Activations activations)
        : weight(parts.heads.head_dim > 0 ? device.backend->prepare_qkv(parts.packed, parts.heads, activations)
                                          : device.backend->prepare(parts.packed, parts.fuse, activations)),
          bias(device, 1, static_cast<std::int64_t>(parts.bias.size()), parts.bias) {
        linear.weight = weight.get();
        if (!parts.bias.empty()) linear.bias = bias.vector();
    }
    std::unique_ptr<kernels::DeviceWeight> weight;
    Guarded bias;
    Linear linear;
};

void append(KnownOutput& all, const KnownOutput& row) {
    all.values.insert(all.values.end(), row.values.begin(), row.values.end());
    all.errors.insert(all.errors.end(), row.errors.begin(), row.errors.end());
}

std::span<const float> row_of(const std::vector<float>& values, std::size_t row, std::size_t columns) {
    return std::span(values).subspan(row * columns, columns);
}

// What an observer saw, and that it saw it once.
struct Seen {
    std::vector<float> values;
    int calls = 0;
};

// Runs `operation(observer)` fused and composed for every device and row count; `run` returns the outputs.
template <class Expect, class Run>
void for_each_run(const Parts& parts, Activations activations, Expect expected_rows, Run run, std::string_view operation) {
    std::map<std::vector<Activations>, KnownOutput> expected;
    std::map<std::string, std::vector<float>> first;
    for (TestedDevice& device : tested_devices()) {
        // What a device chooses by itself is int8 on the CPU, which is asked for too.
        if (activations == Activations::automatic && device.host) continue;
        const DeviceLinear linear(device, parts, activations);
        const std::vector<Activations>& seen = linear.weight->activations;
        if (!expected.contains(seen)) expected[seen] = expected_rows(seen);
        const KnownOutput& all = expected[seen];
        const std::size_t columns = all.values.size() / kMostRows;
        for (const int rows : kRowCounts)
            for (const bool observed : {false, true}) {
                const std::string what = fmt::format("{}: {} of {} ({}), {} rows{}", device.name, operation, parts.names,
                                                     linear.weight->kernel, rows, observed ? ", observed" : "");
                Seen inputs;
                const auto observe = [&](const Linear& of, const Tensor& x) {
                    EXPECT_EQ(of.weight, linear.weight.get());
                    EXPECT_EQ(x.shape, (Shape{rows, linear.weight->in}));
                    ++inputs.calls;
                    inputs.values.resize(static_cast<std::size_t>(x.shape.elements()));
                    device.backend->copy_to_host(x, std::as_writable_bytes(std::span(inputs.values)));
                };
                const Observer observer(observe);
                const std::vector<float> found = run(device, linear.linear, rows, observed ? &observer : nullptr, inputs);
                EXPECT_EQ(inputs.calls, observed ? 1 : 0) << what;
                const std::size_t count = static_cast<std::size_t>(rows) * columns;
                expect_close(found, std::span(all.values).first(count), std::span(all.errors).first(count), what);
                if (device.invariant && !observed) {
                    std::vector<float>& bits = first[device.group];
                    const std::size_t common = std::min(bits.size(), found.size());
                    expect_same_bits(std::span(found).first(common), std::span(bits).first(common), what);
                    if (bits.size() < found.size()) bits = found;
                }
                if (::testing::Test::HasFailure()) return;
            }
    }
}

// Compares what an observer saw with the reference's norm.
void expect_observed(const Seen& inputs, const std::vector<float>& x, int rows, const Norm& norm, std::string_view what) {
    if (inputs.calls == 0) return;
    const std::size_t columns = inputs.values.size() / static_cast<std::size_t>(std::max(rows, 1));
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        const KnownInput known = normed_input(row_of(x, r, columns), norm);
        expect_close(row_of(inputs.values, r, columns), known.values, known.errors, what);
    }
}

// ---- gate_up ------------------------------------------------------------------------------------------------------------

// act(g) u: |act'| is at most 1.13; computing act errs by 8 u of its value (exp, divide) and, where 1 + tanh or 1 + erf
// cancels, by 8 u of |g|.
KnownOutput activated(const KnownOutput& product, bool gated, Activation activation) {
    const std::size_t ffn = gated ? product.values.size() / 2 : product.values.size();
    KnownOutput y;
    for (std::size_t i = 0; i < ffn; ++i) {
        const double g = product.values[i], act = kernels::ref::activate(activation, g);
        const double act_error = 1.13 * product.errors[i] + kUnit * (8.0 * std::abs(act) + 8.0 * std::abs(g));
        const double up = gated ? static_cast<double>(product.values[ffn + i]) : 1.0;
        const double up_error = gated ? product.errors[ffn + i] : 0.0;
        y.values.push_back(static_cast<float>(act * up));
        y.errors.push_back(act_error * (std::abs(up) + up_error) + std::abs(act) * up_error + 2.0 * kUnit * std::abs(act * up) +
                           1e-38);
    }
    return y;
}

void check_gate_up(const Parts& parts, const NormCase& norm, Activation activation, Activations activations) {
    const std::vector<float> x = random_values(kMostRows * kHidden, 71, 0.7f);
    const bool gated = parts.fuse == Fuse::interleaved;
    const auto ffn = parts.packed.front().out;
    for_each_run(
        parts, activations,
        [&](std::span<const Activations> seen) {
            KnownOutput all;
            for (std::size_t r = 0; r < kMostRows; ++r)
                append(all, activated(parts.product(normed_input(row_of(x, r, kHidden), norm.host), seen), gated, activation));
            return all;
        },
        [&](TestedDevice& device, const Linear& linear, int rows, const Observer* observer, const Seen& inputs) {
            const DeviceNorm device_norm(device, norm);
            const Guarded device_x(device, rows, kHidden, std::span(x).first(static_cast<std::size_t>(rows * kHidden)));
            const Guarded y(device, rows, ffn);
            device.backend->gate_up(rows, device_x.tensor(), device_norm.norm, linear, activation, y.tensor(), observer);
            expect_observed(inputs, x, rows, norm.host, device.name);
            return y.values();
        },
        "gate_up");
}

TEST(BlockConformance, GateUp) {
    const NormCase rms(NormKind::rms, kHidden, false), layer(NormKind::layer, kHidden, true),
        none(NormKind::none, kHidden, false);
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        check_gate_up(Parts({{"q4_0", 96}, {"q4_0", 96}}, kHidden, Fuse::interleaved, false), rms, Activation::silu,
                      activations);
        check_gate_up(Parts({{"q4_1", 35}, {"q8_0", 35}}, kHidden, Fuse::interleaved, true), rms, Activation::gelu_tanh,
                      activations);
        check_gate_up(Parts({{"f16", 17}, {"f16", 17}}, kHidden, Fuse::interleaved, true), layer, Activation::gelu_erf,
                      activations);
        check_gate_up(Parts({{"bf16", 48}, {"q6_k", 48}}, kHidden, Fuse::interleaved, false), none, Activation::quick_gelu,
                      activations);
        for (const Activation activation :
             {Activation::silu, Activation::gelu_erf, Activation::gelu_tanh, Activation::quick_gelu, Activation::relu})
            check_gate_up(Parts({{"q4_1", 50}}, kHidden, Fuse::none, true), layer, activation, activations);
        check_gate_up(Parts({{"f32", 1}}, kHidden, Fuse::none, false), none, Activation::relu, activations);
    }
}

// ---- project_add ----------------------------------------------------------------------------------------------------------

// The norm of a row that has errors d: 1 / s errs relatively by |d| / (s sqrt n) more, and every element by weight / s times d
// (layer: and times the mean of d, at most |d| / sqrt n).
KnownOutput normed_output(const KnownOutput& y, const Norm& norm) {
    const KnownInput exact = normed_input(y.values, norm);
    double squares = 0.0, mean = 0.0, d = 0.0;
    const double n = static_cast<double>(y.values.size());
    if (norm.kind == NormKind::layer)
        for (const float value : y.values) mean += static_cast<double>(value) / n;
    for (std::size_t i = 0; i < y.values.size(); ++i) {
        squares += (static_cast<double>(y.values[i]) - mean) * (static_cast<double>(y.values[i]) - mean);
        d += y.errors[i] * y.errors[i];
    }
    d = std::sqrt(d);
    const double s = std::sqrt(squares / n + static_cast<double>(norm.eps));
    KnownOutput out;
    out.values = exact.values;
    for (std::size_t i = 0; i < y.values.size(); ++i) {
        const double weight = norm.weight.data ? std::abs(static_cast<double>(norm.weight.as<float>()[i])) : 1.0;
        const double centred = std::abs(static_cast<double>(y.values[i]) - mean);
        const double shift = norm.kind == NormKind::layer ? d / std::sqrt(n) : 0.0;
        out.errors.push_back(exact.errors[i] + 1.01 * weight / s * (y.errors[i] + shift + centred * d / (s * std::sqrt(n))));
    }
    return out;
}

void check_project_add(const Parts& parts, const NormCase* post_norm, float scale, Activations activations) {
    const auto out = static_cast<std::size_t>(parts.packed.front().out);
    const std::vector<float> x = random_values(kMostRows * kHidden, 72), residual = random_values(kMostRows * out, 73);
    Norm no_norm;
    no_norm.kind = NormKind::none;
    for_each_run(
        parts, activations,
        [&](std::span<const Activations> seen) {
            KnownOutput all;
            for (std::size_t r = 0; r < kMostRows; ++r) {
                KnownOutput y = parts.product(exact_input(row_of(x, r, kHidden)), seen);
                if (post_norm) y = normed_output(y, post_norm->host);
                for (std::size_t o = 0; o < out; ++o) {
                    const double before = residual[r * out + o],
                                 added = static_cast<double>(scale) * static_cast<double>(y.values[o]);
                    y.values[o] = static_cast<float>(before + added);
                    y.errors[o] = std::abs(static_cast<double>(scale)) * y.errors[o] +
                                  kUnit * (2.0 * std::abs(added) + std::abs(before + added));
                }
                append(all, y);
            }
            return all;
        },
        [&](TestedDevice& device, const Linear& linear, int rows, const Observer* observer, const Seen& inputs) {
            std::optional<DeviceNorm> device_norm;
            if (post_norm) device_norm.emplace(device, *post_norm);
            const Guarded device_x(device, rows, kHidden, std::span(x).first(static_cast<std::size_t>(rows * kHidden)));
            const Guarded y(device, rows, static_cast<std::int64_t>(out),
                            std::span(residual).first(static_cast<std::size_t>(rows) * out));
            device.backend->project_add(rows, device_x.tensor(), linear, device_norm ? &device_norm->norm : nullptr, scale,
                                        y.tensor(), observer);
            expect_observed(inputs, x, rows, no_norm, device.name);
            return y.values();
        },
        "project_add");
}

TEST(BlockConformance, ProjectAdd) {
    const NormCase rms(NormKind::rms, 64, false), layer(NormKind::layer, 33, true);
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        check_project_add(Parts({{"q4_0", 64}}, kHidden, Fuse::none, false), nullptr, 1.0f, activations);
        check_project_add(Parts({{"q4_1", 64}}, kHidden, Fuse::none, true), &rms, 1.0f, activations);
        check_project_add(Parts({{"q8_0", 33}}, kHidden, Fuse::none, true), &layer, 0.22f, activations);
        check_project_add(Parts({{"bf16", 1}}, kHidden, Fuse::none, false), nullptr, -0.5f, activations);
        check_project_add(Parts({{"q6_k", 96}}, kHidden, Fuse::none, false), nullptr, 0.125f, activations);
        check_project_add(Parts({{"f32", 17}}, kHidden, Fuse::none, true), nullptr, 1.0f, activations);
    }
}

// ---- logits ---------------------------------------------------------------------------------------------------------------

void check_logits(const Parts& parts, const NormCase& norm, float scale, float soft_cap, Activations activations) {
    const auto vocab = static_cast<std::size_t>(parts.packed.front().out);
    const std::size_t rows_before = 2 * kMostRows + 5;
    const std::vector<float> x = random_values(rows_before * kHidden, 74);
    std::vector<std::int32_t> logit_rows;
    for (std::int32_t i = 0; i < kMostRows; ++i) logit_rows.push_back(2 * i + (i % 3 == 0 ? 1 : 2));
    std::vector<float> chosen;
    for (const std::int32_t row : logit_rows) {
        const auto values = row_of(x, static_cast<std::size_t>(row), kHidden);
        chosen.insert(chosen.end(), values.begin(), values.end());
    }
    for_each_run(
        parts, activations,
        [&](std::span<const Activations> seen) {
            KnownOutput all;
            for (std::size_t r = 0; r < kMostRows; ++r) {
                KnownOutput y = parts.product(normed_input(row_of(chosen, r, kHidden), norm.host), seen);
                for (std::size_t o = 0; o < vocab; ++o) {  // |tanh'| <= 1; tanh itself errs by 8 u of the cap
                    double value = static_cast<double>(y.values[o]) * static_cast<double>(scale);
                    if (soft_cap > 0.0f)
                        value = static_cast<double>(soft_cap) * std::tanh(value / static_cast<double>(soft_cap));
                    y.errors[o] = y.errors[o] * std::abs(static_cast<double>(scale)) +
                                  kUnit * (3.0 * std::abs(static_cast<double>(y.values[o] * scale)) +
                                           8.0 * static_cast<double>(soft_cap));
                    y.values[o] = static_cast<float>(value);
                }
                append(all, y);
            }
            return all;
        },
        [&](TestedDevice& device, const Linear& linear, int rows, const Observer* observer, const Seen& inputs) {
            const DeviceNorm device_norm(device, norm);
            const std::vector<SequenceRows> one = {{0, 0, static_cast<std::int32_t>(rows_before)}};
            TestBatch batch(one, 1, 2);
            batch.logit_rows.assign(logit_rows.begin(), logit_rows.begin() + rows);
            batch.refresh();
            const Guarded device_x(device, static_cast<std::int64_t>(rows_before), kHidden, x);
            const Guarded y(device, rows, static_cast<std::int64_t>(vocab));
            device.backend->logits(batch.batch, device_x.tensor(), device_norm.norm, linear, scale, soft_cap, y.tensor(),
                                   observer);
            expect_observed(inputs, chosen, rows, norm.host, device.name);
            return y.values();
        },
        "logits");
}

TEST(BlockConformance, Logits) {
    const NormCase rms(NormKind::rms, kHidden, false), layer(NormKind::layer, kHidden, true);
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        check_logits(Parts({{"q6_k", 300}}, kHidden, Fuse::none, false), rms, 1.0f, 0.0f, activations);
        check_logits(Parts({{"q4_0", 101}}, kHidden, Fuse::none, false), rms, 0.25f, 30.0f, activations);
        check_logits(Parts({{"f16", 65}}, kHidden, Fuse::none, true), layer, 1.0f, 0.0f, activations);
    }
}

// ---- qkv ------------------------------------------------------------------------------------------------------------------

struct QkvCase {
    std::array<const char*, 3> formats;
    int heads, kv_heads, head_dim;
    Rope rope;
    bool head_norms = false, biased = false;
};

// Norm (where there is one) and rotation of one head; a rotated component errs by the errors of its two parts and 3 u of them.
KnownOutput rotated(const KnownOutput& head, const Norm* norm, const Rope& rope, const float* table) {
    KnownOutput y = norm ? normed_output(head, *norm) : head;
    const std::vector<float> before = y.values;
    const std::vector<double> errors = y.errors;
    kernels::ref::rotate(y.values.data(), rope, table);
    const auto half = static_cast<std::size_t>(rope.rotary_dim / 2);
    for (std::size_t i = 0; i < half; ++i) {
        const std::size_t a = rope.interleaved ? 2 * i : i, b = rope.interleaved ? 2 * i + 1 : i + half;
        const double size = std::abs(static_cast<double>(before[a])) + std::abs(static_cast<double>(before[b]));
        y.errors[a] = y.errors[b] = errors[a] + errors[b] + 3.0 * kUnit * size;
    }
    return y;
}

KnownOutput part_of(const KnownOutput& all, std::size_t begin, std::size_t count) {
    const auto at = static_cast<std::ptrdiff_t>(begin), end = static_cast<std::ptrdiff_t>(begin + count);
    return {{all.values.begin() + at, all.values.begin() + end}, {all.errors.begin() + at, all.errors.begin() + end}};
}

// q is compared itself; k and v through attention with the same queries on both sides. With scores that err by e, every weight
// errs relatively by at most exp(2 e) - 1, which multiplies the largest |v|, and v's own error adds.
void check_qkv(const QkvCase& c, const NormCase& norm, Activations activations) {
    const std::int64_t q_columns = c.heads * c.head_dim, kv_columns = c.kv_heads * c.head_dim;
    Parts parts({{c.formats[0], q_columns}, {c.formats[1], kv_columns}, {c.formats[2], kv_columns}}, kHidden, Fuse::rows,
                c.biased);
    parts.heads = {q_columns + kv_columns, c.head_dim, c.rope};
    const NormCase head_norm(NormKind::rms, c.head_dim, false);
    const std::vector<float> x = random_values(kMostRows * kHidden, 75),
                             probe = random_values(static_cast<std::size_t>(kMostRows * q_columns), 76, 0.3f);
    std::vector<float> inv_freq;
    for (int i = 0; i < c.rope.rotary_dim / 2; ++i)
        inv_freq.push_back(std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(c.rope.rotary_dim)));
    std::vector<float> table(static_cast<std::size_t>(kMostRows * c.rope.rotary_dim));
    for (int r = 0; r < kMostRows; ++r) kernels::ref::rope_row(r, inv_freq, 1.0f, table.data() + r * c.rope.rotary_dim);
    const auto dim = static_cast<std::size_t>(c.head_dim);
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    const kernels::AttentionParameters attention{
        .heads = c.heads, .scale = scale, .soft_cap = 0.0f, .alibi_slopes = {}, .sinks = {}};
    const kernels::KvGroup group{.layers = 1, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .window = 0, .type = KvType::f32};

    const auto run = [&](TestedDevice& device, const Linear& linear, int rows, const Observer* observer, const Seen& inputs) {
        const DeviceNorm device_norm(device, norm), device_head_norm(device, head_norm);
        const std::vector<SequenceRows> one = {{0, 0, rows}};
        const TestBatch batch(one, 1, 2);
        auto storage = device.backend->make_kv(group);
        storage->reserve_blocks(batch.blocks);
        const Norm* of_heads = c.head_norms ? &device_head_norm.norm : nullptr;
        const Guarded device_x(device, rows, kHidden, std::span(x).first(static_cast<std::size_t>(rows * kHidden)));
        const Guarded q(device, rows, q_columns), out(device, rows, q_columns);
        const Guarded rope_table(device, rows, c.rope.rotary_dim,
                                 std::span(table).first(static_cast<std::size_t>(rows * c.rope.rotary_dim)));
        const Guarded device_probe(device, rows, q_columns, std::span(probe).first(static_cast<std::size_t>(rows * q_columns)));
        device.backend->qkv(batch.batch, device_x.tensor(), device_norm.norm, linear, of_heads, of_heads, c.rope,
                            rope_table.tensor(), {storage.get(), 0, 0}, q.tensor(), observer);
        expect_observed(inputs, x, rows, norm.host, device.name);
        device.backend->attention(batch.batch, device_probe.tensor(), attention, {storage.get(), 0, 0}, out.tensor());
        std::vector<float> both;
        const std::vector<float> q_values = q.values(), out_values = out.values();
        for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
            for (const std::vector<float>* from : {&q_values, &out_values}) {
                const auto row = row_of(*from, r, static_cast<std::size_t>(q_columns));
                both.insert(both.end(), row.begin(), row.end());
            }
        return both;
    };

    for_each_run(
        parts, activations,
        [&](std::span<const Activations> seen) {
            const Norm* of_heads = c.head_norms ? &head_norm.host : nullptr;
            std::vector<KnownOutput> queries(kMostRows);
            std::vector<std::vector<double>> key_errors(kMostRows), key_norms(kMostRows);  // [row][kv_head]
            std::vector<double> value_errors(kMostRows), values(kMostRows);
            for (std::size_t r = 0; r < kMostRows; ++r) {
                const KnownOutput all = parts.product(normed_input(row_of(x, r, kHidden), norm.host), seen);
                const float* row_table = table.data() + r * static_cast<std::size_t>(c.rope.rotary_dim);
                for (std::size_t head = 0; head < static_cast<std::size_t>(c.heads + c.kv_heads); ++head) {
                    const KnownOutput y = rotated(part_of(all, head * dim, dim), of_heads, c.rope, row_table);
                    if (head < static_cast<std::size_t>(c.heads)) {
                        append(queries[r], y);
                    } else {
                        double squares = 0.0;
                        for (const double error : y.errors) squares += error * error;
                        key_errors[r].push_back(std::sqrt(squares));
                        key_norms[r].push_back(norm_of(y.values.data(), c.head_dim));
                    }
                }
                const KnownOutput v =
                    part_of(all, static_cast<std::size_t>(q_columns + kv_columns), static_cast<std::size_t>(kv_columns));
                value_errors[r] = *std::ranges::max_element(v.errors);
                for (const float value : v.values) values[r] = std::max(values[r], std::abs(static_cast<double>(value)));
            }
            // The reference's own attention over its own keys and values.
            TestedDevice& ref = reference_device();
            const DeviceLinear linear(ref, parts,
                                      std::ranges::count(seen, Activations::int8) > 0 ? Activations::int8 : Activations::f32);
            const bool rounded_16 =
                std::ranges::count(seen, Activations::bf16) + std::ranges::count(seen, Activations::f16) > 0;
            EXPECT_TRUE(rounded_16 || std::ranges::equal(linear.weight->activations, seen));
            const std::vector<float> both = run(ref, linear.linear, kMostRows, nullptr, Seen{});
            KnownOutput expected;
            for (std::size_t r = 0; r < kMostRows; ++r) {
                append(expected, queries[r]);
                const auto columns = static_cast<std::size_t>(q_columns);
                for (std::size_t i = 0; i < columns; ++i) {
                    const std::size_t head = i / dim, kv_head = head / static_cast<std::size_t>(c.heads / c.kv_heads);
                    double e = 0.0, largest = 0.0, value_error = 0.0;
                    const double q_norm = norm_of(&probe[r * columns + head * dim], c.head_dim);
                    for (std::size_t j = 0; j <= r; ++j) {
                        e = std::max(e,
                                     static_cast<double>(scale) * (q_norm * key_errors[j][kv_head] +
                                                                   sum_tolerance(c.head_dim, q_norm, key_norms[j][kv_head])));
                        largest = std::max(largest, values[j]);
                        value_error = std::max(value_error, value_errors[j]);
                    }
                    expected.values.push_back(both[r * 2 * columns + columns + i]);
                    expected.errors.push_back(
                        (std::expm1(2.0 * e) + kUnit * (40.0 + 2.0 * (4.0 + std::sqrt(static_cast<double>(r + 1))))) * largest +
                        value_error);
                }
            }
            return expected;
        },
        run, "qkv");
}

TEST(BlockConformance, Qkv) {
    const NormCase rms(NormKind::rms, kHidden, false), layer(NormKind::layer, kHidden, true);
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        check_qkv({.formats = {"q4_0", "q4_0", "q4_0"}, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope = {32, false}}, rms,
                  activations);
        check_qkv({.formats = {"q4_1", "q4_1", "q8_0"}, .heads = 6, .kv_heads = 2, .head_dim = 64, .rope = {64, true}}, rms,
                  activations);
        check_qkv({.formats = {"f32", "f16", "bf16"},
                   .heads = 3,
                   .kv_heads = 3,
                   .head_dim = 16,
                   .rope = {8, false},
                   .head_norms = false,
                   .biased = true},
                  layer, activations);
        check_qkv({.formats = {"q8_0", "q8_0", "q6_k"},
                   .heads = 4,
                   .kv_heads = 1,
                   .head_dim = 80,
                   .rope = {80, false},
                   .head_norms = true,
                   .biased = true},
                  rms, activations);
        check_qkv({.formats = {"bf16", "bf16", "bf16"},
                   .heads = 2,
                   .kv_heads = 2,
                   .head_dim = 64,
                   .rope = {0, false},
                   .head_norms = false,
                   .biased = true},
                  layer, activations);
        check_qkv({.formats = {"q6_k", "q6_k", "q6_k"},
                   .heads = 5,
                   .kv_heads = 1,
                   .head_dim = 48,
                   .rope = {16, true},
                   .head_norms = true},
                  rms, activations);
        check_qkv({.formats = {"bf16", "bf16", "q8_0"}, .heads = 4, .kv_heads = 2, .head_dim = 64, .rope = {32, false}}, rms,
                  activations);
        check_qkv({.formats = {"f16", "f16", "f16"}, .heads = 4, .kv_heads = 2, .head_dim = 32, .rope = {32, true}}, rms,
                  activations);
        check_qkv({.formats = {"q6_k", "q8_0", "q4_1"},
                   .heads = 2,
                   .kv_heads = 1,
                   .head_dim = 80,
                   .rope = {64, false},
                   .head_norms = false,
                   .biased = true},
                  rms, activations);
    }
}

}  // namespace
}  // namespace narae::test
