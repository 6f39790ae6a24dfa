// Attention on the tensor cores: bfloat16 queries and outputs, 16-bit caches. (The conformance tests see the float32 path.)
#include "gpu/gpu.h"
#include "support/random_weights.h"
#include "support/tested_devices.h"
#include "support/tolerance.h"
#include "tensor/scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace narae::test {
namespace {

using kernels::KvGroup;
using kernels::KvType;
namespace cuda = kernels::cuda;

struct Case {
    int heads, kv_heads, head_dim, window = 0;
    float soft_cap = 0.0f;
};

constexpr int kSequences = 6, kBlocksEach = 20;

class TensorCoreAttention : public Gpu {
protected:
    static std::vector<float> as_bf16(std::vector<float> values) {
        for (float& value : values) value = to_float(to_bfloat16(value));
        return values;
    }

    void check(kernels::Backend& backend, const Case& c, KvType type, std::span<const SequenceRows> parts) {
        const KvGroup group{.layers = 2, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .window = c.window, .type = type};
        const std::int64_t kv_columns = std::int64_t{c.kv_heads} * c.head_dim, columns = std::int64_t{c.heads} * c.head_dim;
        const TestBatch batch(parts, kSequences, kBlocksEach);
        const auto device_kv = backend.make_kv(group), host_kv = reference().make_kv(group);
        device_kv->reserve_blocks(batch.blocks);
        host_kv->reserve_blocks(batch.blocks);
        double largest = 0.0;
        std::uint64_t seed = 3;
        for (const SequenceRows& part : parts) {
            const std::vector<SequenceRows> whole = {{part.sequence, 0, part.begin + part.rows}};
            const TestBatch all(whole, kSequences, kBlocksEach);
            const auto count = static_cast<std::size_t>(all.batch.rows * kv_columns);
            std::vector<float> k = random_values(count, ++seed), v = random_values(count, ++seed);
            for (const float value : v) largest = std::max(largest, static_cast<double>(std::abs(value)));
            const auto host = [&](std::vector<float>& values) {
                return make_tensor(values.data(), DType::f32, {all.batch.rows, kv_columns});
            };
            const auto device = [&](const std::vector<float>& values) {
                Tensor tensor = backend.upload(values);
                tensor.shape = {all.batch.rows, kv_columns};
                return tensor;
            };
            reference().append_kv(all.batch, host(k), host(v), {host_kv.get(), 0, 1});
            backend.append_kv(all.batch, device(k), device(v), {device_kv.get(), 0, 1});
        }
        const auto count = static_cast<std::size_t>(batch.batch.rows * columns);
        std::vector<float> q = as_bf16(random_values(count, 99)), expected(count);
        const kernels::AttentionParameters parameters{.heads = c.heads,
                                                      .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                                                      .soft_cap = c.soft_cap,
                                                      .alibi_slopes = {},
                                                      .sinks = {}};
        const Shape shape{batch.batch.rows, columns};
        reference().attention(batch.batch, make_tensor(q.data(), DType::f32, shape), parameters, {host_kv.get(), 0, 1},
                              make_tensor(expected.data(), DType::f32, shape));

        // bfloat16 tensors travel inside float32 ones.
        std::vector<float> carrier((count + 1) / 2);
        std::vector<std::uint16_t> bits(count);
        for (std::size_t i = 0; i < count; ++i) bits[i] = to_bfloat16(q[i]).bits;
        std::memcpy(carrier.data(), bits.data(), count * 2);
        const Tensor device_q = backend.upload(carrier), device_out = backend.upload(std::vector<float>(carrier.size(), NAN));
        backend.attention(batch.batch, make_tensor(device_q.data, DType::bf16, shape), parameters, {device_kv.get(), 0, 1},
                          make_tensor(device_out.data, DType::bf16, shape));
        backend.copy_to_host(make_tensor(device_out.data, DType::bf16, shape), std::as_writable_bytes(std::span(bits)));
        std::vector<float> found(count);
        for (std::size_t i = 0; i < count; ++i) found[i] = to_float(BFloat16{bits[i]});

        // Probabilities are rounded to the cache's type (2^-8 or 2^-11 of each, which are at most 1 together), the output to
        // bfloat16; scores err like float32 sums, and exp by a few units.
        const double step = type == KvType::bf16 ? 0x1p-8 : 0x1p-11;
        std::vector<double> tolerance(count);
        for (std::size_t i = 0; i < count; ++i)
            tolerance[i] = 2.0 * step * largest + 0x1p-8 * static_cast<double>(std::abs(expected[i])) + 1e-4 * largest;
        expect_close(found, expected, tolerance,
                     fmt::format("{} heads, {} kv heads, head_dim {}, window {}, cap {}, kv type {}, {} rows", c.heads,
                                 c.kv_heads, c.head_dim, c.window, c.soft_cap, static_cast<int>(type), batch.batch.rows));
    }
};

TEST_F(TensorCoreAttention, AgreesWithTheReference) {
    const auto backend = open();
    const std::vector<std::vector<SequenceRows>> batches = {
        {{2, 0, 70}, {0, 321, 1}, {3, 61, 7}, {5, 0, 1}, {1, 63, 2}, {4, 130, 64}},  // ragged
        {{2, 0, 1}, {0, 1100, 1}, {3, 61, 1}, {5, 63, 1}, {1, 64, 1}, {4, 700, 1}},  // decode
        {{1, 1023, 1}},                                                              // one row
        {{0, 0, 300}},                                                               // a prompt
    };
    for (const Case& c : std::vector<Case>{{32, 8, 128},
                                           {4, 2, 64},
                                           {9, 3, 64},
                                           {5, 1, 80},
                                           {6, 2, 96},
                                           {4, 4, 256},
                                           {7, 1, 128},
                                           {16, 1, 64},
                                           {3, 3, 48},
                                           {8, 2, 128, 100},
                                           {8, 4, 256, 0, 30.0f}})
        for (const KvType type : {KvType::f16, KvType::bf16})
            for (const auto& parts : batches) check(*backend, c, type, parts);
}

}  // namespace
}  // namespace narae::test
