// The small operations, and embed and rope_table, on every device against the reference.
#include "base/error.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/rope.h"
#include "support/tested_devices.h"
#include "support/tolerance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace narae::test {
namespace {

using kernels::Activation;
using kernels::Norm;
using kernels::NormKind;
using kernels::Rope;

constexpr std::array kRowCounts = {0, 1, 3, 33};

TEST(SmallOperationConformance, Embed) {
    for (const Format* format : all_formats())
        for (const std::int64_t hidden : {format->block, 3 * format->block, std::int64_t{768}}) {
            const KnownWeight table = known_weight(*format, 40, hidden, 6);
            const KnownWeight positions = known_weight(*find_format("f32"), 200, hidden, 7);
            const std::vector<SequenceRows> parts = {{0, 3, 5}, {1, 60, 9}};
            TestBatch batch(parts, 2, 2);
            for (std::size_t r = 0; r < batch.ids.size(); ++r) batch.ids[r] = static_cast<std::int32_t>((r * 17 + 39) % 40);
            for (const bool with_positions : {false, true})
                for (TestedDevice& device : tested_devices())
                    for (const bool tied : {false, true}) {
                        kernels::Backend& backend = *device.backend;
                        const auto prepared = tied ? backend.prepare(std::span(&table.packed.weight, 1), kernels::Fuse::none,
                                                                     kernels::Activations::automatic)
                                                   : backend.prepare_table(table.packed.weight);
                        const auto prepared_positions = backend.prepare_table(positions.packed.weight);
                        const Guarded x(device, batch.batch.rows, hidden);
                        const float scale = 1.75f;
                        backend.embed(batch.batch, *prepared, scale, with_positions ? prepared_positions.get() : nullptr, 2,
                                      x.tensor());
                        std::vector<float> expected;
                        std::vector<double> tolerance;
                        for (std::size_t r = 0; r < batch.ids.size(); ++r)
                            for (std::size_t i = 0; i < static_cast<std::size_t>(hidden); ++i) {
                                const auto columns = static_cast<std::size_t>(hidden);
                                const float value = table.values[static_cast<std::size_t>(batch.ids[r]) * columns + i] * scale;
                                const float position =
                                    with_positions
                                        ? positions.values[static_cast<std::size_t>(batch.positions[r] + 2) * columns + i]
                                        : 0.0f;
                                expected.push_back(value + position);
                                // One rounding of each operation, none elsewhere: fused or not. A tied table whose format
                                // has no kernel may be held as bf16.
                                tolerance.push_back(
                                    kUnit * static_cast<double>(2.0f * std::abs(value) + std::abs(value + position)) +
                                    (tied && !prepared->fallback.empty() ? 0x1p-8 * std::abs(static_cast<double>(value))
                                                                         : 0.0));
                            }
                        expect_close(
                            x.values(), expected, tolerance,
                            fmt::format("{}: {}, hidden {}, {}", device.name, format->name, hidden, tied ? "tied" : "table"));
                    }
        }
}

TEST(SmallOperationConformance, RopeTable) {
    for (const int rotary_dim : {2, 6, 16, 64, 80, 128}) {
        std::vector<float> inv_freq;
        for (int i = 0; i < rotary_dim / 2; ++i)
            inv_freq.push_back(std::pow(500000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(rotary_dim)));
        const std::vector<SequenceRows> parts = {{0, 0, 9}, {1, 4095, 3}, {2, 131071, 1}};
        const TestBatch batch(parts, 3, 2049);
        for (TestedDevice& device : tested_devices()) {
            const Guarded table(device, batch.batch.rows, rotary_dim);
            device.backend->rope_table(batch.batch, inv_freq, 1.25f, table.tensor());
            const std::vector<float> found = table.values();
            std::vector<float> expected(found.size());
            for (std::size_t r = 0; r < batch.positions.size(); ++r)
                kernels::ref::rope_row(batch.positions[r], inv_freq, 1.25f,
                                       expected.data() + r * static_cast<std::size_t>(rotary_dim));
            // cos and sin of the same f32 angle: 2 u of 1, times the scaling, and its rounding.
            expect_close(found, expected, std::vector<double>(found.size(), 3.0 * 1.25 * kUnit), device.name);
        }
    }
}

TEST(SmallOperationConformance, Norms) {
    for (const NormKind kind : {NormKind::none, NormKind::rms, NormKind::layer})
        for (const std::int64_t hidden : {1, 2, 7, 16, 33, 576, 4096})
            for (const bool biased : {false, true}) {
                const int most = 33;
                std::vector<float> x = random_values(static_cast<std::size_t>(most * hidden), 21);
                for (std::size_t i = 0; i < static_cast<std::size_t>(hidden); ++i) {
                    x[i] = 0.0f;                                                          // a row of zeros
                    if (most > 2) x[static_cast<std::size_t>(2 * hidden) + i] += 100.0f;  // a mean far from zero
                }
                const std::vector<float> weight = random_values(static_cast<std::size_t>(hidden), 22),
                                         bias = random_values(static_cast<std::size_t>(hidden), 23);
                Norm host;
                host.kind = kind;
                host.eps = 1e-6f;
                host.weight = make_tensor(const_cast<float*>(weight.data()), DType::f32, {hidden});
                if (biased) host.bias = make_tensor(const_cast<float*>(bias.data()), DType::f32, {hidden});
                std::vector<float> expected;
                std::vector<double> tolerance;
                for (int r = 0; r < most; ++r) {
                    const KnownInput row = normed_input(
                        std::span(x).subspan(static_cast<std::size_t>(r * hidden), static_cast<std::size_t>(hidden)), host);
                    expected.insert(expected.end(), row.values.begin(), row.values.end());
                    tolerance.insert(tolerance.end(), row.errors.begin(), row.errors.end());
                }
                for (TestedDevice& device : tested_devices())
                    for (const int rows : kRowCounts) {
                        const auto count = static_cast<std::size_t>(rows * hidden);
                        const Guarded device_weight(device, 1, hidden, weight), device_bias(device, 1, hidden, bias);
                        const Guarded device_x(device, rows, hidden, std::span(x).first(count)), y(device, rows, hidden);
                        Norm norm = host;
                        norm.weight = device_weight.vector();
                        if (biased) norm.bias = device_bias.vector();
                        device.backend->norm(rows, device_x.tensor(), norm, y.tensor());
                        expect_close(y.values(), std::span(expected).first(count), std::span(tolerance).first(count),
                                     fmt::format("{}: norm kind {}, hidden {}, {} rows", device.name, static_cast<int>(kind),
                                                 hidden, rows));
                    }
            }
}

TEST(SmallOperationConformance, RotationsOfHeads) {
    struct Case {
        int count, head_dim;
        Rope rope;
        bool normed;
    };
    for (const Case& c : {Case{3, 64, {64, false}, false}, Case{3, 64, {64, true}, true}, Case{1, 80, {80, false}, false},
                          Case{5, 16, {6, false}, true}, Case{2, 96, {24, true}, false}, Case{4, 128, {0, false}, true},
                          Case{2, 10, {10, false}, false}}) {
        const int most = 33, columns = c.count * c.head_dim;
        const std::vector<float> x = random_values(static_cast<std::size_t>(most * columns), 24),
                                 weight = random_values(static_cast<std::size_t>(c.head_dim), 25);
        std::vector<float> table = random_values(static_cast<std::size_t>(most * c.rope.rotary_dim), 26);
        for (float& value : table) value = std::tanh(value);
        Norm norm;
        norm.weight = make_tensor(const_cast<float*>(weight.data()), DType::f32, {c.head_dim});
        if (!c.normed) norm.kind = NormKind::none;
        std::vector<float> expected;
        std::vector<double> tolerance;
        for (int r = 0; r < most; ++r)
            for (int h = 0; h < c.count; ++h) {
                const KnownInput head =
                    normed_input(std::span(x).subspan(static_cast<std::size_t>(r * columns + h * c.head_dim),
                                                      static_cast<std::size_t>(c.head_dim)),
                                 norm);
                std::vector<float> rotated = head.values;
                kernels::ref::rotate(rotated.data(), c.rope, table.data() + r * c.rope.rotary_dim);
                std::vector<double> errors = head.errors;
                const int half = c.rope.rotary_dim / 2;
                for (int i = 0; i < half; ++i) {  // each product and the sum round once
                    const auto a = static_cast<std::size_t>(c.rope.interleaved ? 2 * i : i),
                               b = static_cast<std::size_t>(c.rope.interleaved ? 2 * i + 1 : i + half);
                    errors[a] = errors[b] =
                        head.errors[a] + head.errors[b] +
                        3.0 * kUnit * static_cast<double>(std::abs(head.values[a]) + std::abs(head.values[b]));
                }
                expected.insert(expected.end(), rotated.begin(), rotated.end());
                tolerance.insert(tolerance.end(), errors.begin(), errors.end());
            }
        for (TestedDevice& device : tested_devices())
            for (const int rows : kRowCounts) {
                const auto count = static_cast<std::size_t>(rows * columns);
                const Guarded heads(device, rows, columns, std::span(x).first(count)),
                    device_weight(device, 1, c.head_dim, weight);
                const Guarded device_table(device, rows, c.rope.rotary_dim,
                                           std::span(table).first(static_cast<std::size_t>(rows * c.rope.rotary_dim)));
                Norm device_norm = norm;
                device_norm.weight = device_weight.vector();
                device.backend->norm_rotate_heads(rows, heads.tensor(), c.count, c.head_dim, c.normed ? &device_norm : nullptr,
                                                  c.rope, device_table.tensor());
                expect_close(heads.values(), std::span(expected).first(count), std::span(tolerance).first(count),
                             fmt::format("{}: {} heads of {}, rotary {}", device.name, c.count, c.head_dim, c.rope.rotary_dim));
            }
    }
}

TEST(SmallOperationConformance, ActivateAddAndCopy) {
    for (const std::int64_t columns : {1, 5, 16, 33, 1000}) {
        const int most = 33;
        std::vector<float> gate = random_values(static_cast<std::size_t>(most * columns), 27, 2.0f);
        gate[0] = -200.0f;  // where exp overflows
        if (columns > 1) gate[1] = 200.0f;
        const std::vector<float> up = random_values(gate.size(), 28);
        for (TestedDevice& device : tested_devices())
            for (const int rows : kRowCounts) {
                const auto count = static_cast<std::size_t>(rows * columns);
                const Guarded g(device, rows, columns, std::span(gate).first(count)),
                    u(device, rows, columns, std::span(up).first(count));
                for (const Activation activation :
                     {Activation::silu, Activation::gelu_erf, Activation::gelu_tanh, Activation::quick_gelu, Activation::relu})
                    for (const bool gated : {false, true}) {
                        const Guarded y(device, rows, columns);
                        const Tensor of_up = u.tensor();
                        device.backend->activate(rows, columns, g.tensor(), gated ? &of_up : nullptr, activation, y.tensor());
                        std::vector<float> expected;
                        std::vector<double> tolerance;
                        for (std::size_t i = 0; i < count; ++i) {
                            const double x = gate[i], act = kernels::ref::activate(activation, x),
                                         factor = gated ? static_cast<double>(up[i]) : 1.0;
                            expected.push_back(static_cast<float>(act * factor));
                            // exp and division: 8 u of the value; where 1 + tanh or 1 + erf cancels, 8 u of |x|.
                            tolerance.push_back(kUnit * std::abs(factor) * (10.0 * std::abs(act) + 8.0 * std::abs(x)) + 1e-38);
                        }
                        expect_close(
                            y.values(), expected, tolerance,
                            fmt::format("{}: activation {}, {} columns", device.name, static_cast<int>(activation), columns));
                    }
                std::vector<float> expected;
                std::vector<double> tolerance;
                for (std::size_t i = 0; i < count; ++i) {
                    const double added = 0.3f * static_cast<double>(gate[i]), sum = static_cast<double>(up[i]) + added;
                    expected.push_back(static_cast<float>(sum));
                    tolerance.push_back(kUnit * (std::abs(added) + 2.0 * std::abs(sum)));
                }
                device.backend->add(rows, columns, 0.3f, g.tensor(), u.tensor());
                expect_close(u.values(), expected, tolerance, device.name + ": add");
                expect_same_bits(g.values(), std::span(gate).first(count), device.name + ": add left its input");

                const Guarded wide(device, rows, columns + 3), narrow(device, rows, columns);
                Tensor part = wide.tensor();  // columns [2, 2 + columns) of wider rows
                part.data += 2 * sizeof(float);
                part.shape = {rows, columns};
                device.backend->copy_rows(rows, columns, g.tensor(), part);
                device.backend->copy_rows(rows, columns, part, narrow.tensor());
                expect_same_bits(narrow.values(), std::span(gate).first(count), device.name + ": copy_rows");
            }
    }
}

}  // namespace
}  // namespace narae::test
