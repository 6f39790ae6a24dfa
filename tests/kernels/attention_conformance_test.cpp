// Attention over scattered blocks on every device against the reference.
#include "base/error.h"
#include "support/tested_devices.h"
#include "support/tolerance.h"
#include "tensor/scalar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace narae::test {
namespace {

using kernels::AttentionParameters;
using kernels::Backend;
using kernels::kBlockTokens;
using kernels::KvGroup;
using kernels::KvLayer;
using kernels::KvStorage;
using kernels::KvType;

struct AttentionCase {
    int heads, kv_heads, head_dim;
    int window = 0;
    KvType type = KvType::f32;
    float soft_cap = 0.0f;
    bool alibi = false, sinks = false;
    std::string name() const {
        return fmt::format("{} heads, {} kv heads, head_dim {}, window {}, kv type {}, cap {}{}{}", heads, kv_heads, head_dim,
                           window, static_cast<int>(type), soft_cap, alibi ? ", alibi" : "", sinks ? ", sinks" : "");
    }
};

constexpr int kSequences = 6, kBlocksEach = 6, kLayers = 2, kLayer = 1;

// Prefill from the start, a chunk that crosses a block, decode rows early and late, the first token alone.
const std::vector<SequenceRows> kParts = {{2, 0, 70}, {0, 321, 1}, {3, 61, 7}, {5, 0, 1}, {1, 63, 2}, {4, 130, 64}};

std::vector<float> rounded(std::vector<float> values, KvType type) {
    for (float& value : values) {
        if (type == KvType::f16) value = to_float(to_half(value));
        if (type == KvType::bf16) value = to_float(to_bfloat16(value));
    }
    return values;
}

// Keys and values of every position that the rows of kParts see, and queries of the rows.
struct AttentionData {
    explicit AttentionData(const AttentionCase& c) {
        std::uint64_t seed = 100;
        for (const SequenceRows& part : kParts) {
            const auto count = static_cast<std::size_t>((part.begin + part.rows) * c.kv_heads * c.head_dim);
            keys.push_back(random_values(count, ++seed));
            values.push_back(random_values(count, ++seed));
        }
        const TestBatch rows(kParts, kSequences, kBlocksEach);
        q = random_values(static_cast<std::size_t>(rows.batch.rows * c.heads * c.head_dim), ++seed);
        slopes = random_values(static_cast<std::size_t>(c.heads), ++seed, 0.05f);
        for (float& slope : slopes) slope = std::abs(slope);
        sinks = random_values(static_cast<std::size_t>(c.heads), ++seed);
    }
    std::vector<std::vector<float>> keys, values;  // of each part's sequence [positions, kv_heads, head_dim]
    std::vector<float> q, slopes, sinks;
};

KvGroup group_of(const AttentionCase& c) {
    return {.layers = kLayers, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .window = c.window, .type = c.type};
}

// A storage whose every place holds NaN but for the data: what a kernel must not read shows in its results.
std::unique_ptr<KvStorage> filled_storage(TestedDevice& device, const AttentionCase& c, const AttentionData& data) {
    const TestBatch used(kParts, kSequences, kBlocksEach);
    auto storage = device.backend->make_kv(group_of(c));
    storage->reserve_blocks(2);  // grows in two steps
    storage->reserve_blocks(used.blocks);
    const KvLayer kv{.storage = storage.get(), .group = 0, .layer = kLayer};
    const std::int64_t columns = std::int64_t{c.kv_heads} * c.head_dim;

    std::vector<SequenceRows> everything = {{0, 0, static_cast<std::int32_t>(used.blocks) * kBlockTokens}};
    TestBatch all(everything, 1, static_cast<int>(used.blocks));
    for (std::size_t i = 0; i < all.tables.size(); ++i) all.tables[i] = static_cast<std::int32_t>(i);
    all.refresh();
    const Guarded nan(device, all.batch.rows, columns);
    for (int layer = 0; layer < kLayers; ++layer)
        device.backend->append_kv(all.batch, nan.tensor(), nan.tensor(), {storage.get(), 0, layer});

    for (std::size_t p = 0; p < kParts.size(); ++p) {
        const std::vector<SequenceRows> whole = {{kParts[p].sequence, 0, kParts[p].begin + kParts[p].rows}};
        const TestBatch batch(whole, kSequences, kBlocksEach);
        const Guarded k(device, batch.batch.rows, columns, data.keys[p]), v(device, batch.batch.rows, columns, data.values[p]);
        device.backend->append_kv(batch.batch, k.tensor(), v.tensor(), kv);
    }
    return storage;
}

// Blocks that lie wholly before every window of a sequence's rows are gone.
void forget_blocks(TestBatch& batch, std::span<const SequenceRows> parts, int window) {
    if (window == 0) return;
    for (std::size_t p = 0; p < parts.size(); ++p)
        for (int b = 0; b < batch.batch.table_stride && (b + 1) * kBlockTokens <= parts[p].begin - window + 1; ++b)
            batch.tables[p * static_cast<std::size_t>(batch.batch.table_stride) + static_cast<std::size_t>(b)] = -1;
    batch.refresh();
}

std::vector<float> attend(TestedDevice& device, const AttentionCase& c, const AttentionData& data, const TestBatch& batch,
                          std::span<const float> q, KvStorage& storage) {
    const std::int64_t columns = std::int64_t{c.heads} * c.head_dim;
    const Guarded device_q(device, batch.batch.rows, columns, q), out(device, batch.batch.rows, columns);
    const Guarded slopes(device, 1, c.heads, data.slopes), sinks(device, 1, c.heads, data.sinks);
    AttentionParameters parameters{.heads = c.heads,
                                   .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                                   .soft_cap = c.soft_cap,
                                   .alibi_slopes = {},
                                   .sinks = {}};
    if (c.alibi) parameters.alibi_slopes = slopes.vector();
    if (c.sinks) parameters.sinks = sinks.vector();
    device.backend->attention(batch.batch, device_q.tensor(), parameters, {&storage, 0, kLayer}, out.tensor());
    return out.values();
}

// A score errs by a sum of head_dim products times scale, the cap's tanh (8 u of the cap), the bias (4 u of it) and a last
// rounding (2 u of the score); call the largest error of a row e. A weight exp(score - largest) then errs relatively by
// exp(2 e) - 1, by 8 u of exp itself, and by u times the exponent's size, which counts for weights that are not negligible
// (below 32). The mean over n values adds the rounding of two sums of n. Each error multiplies at most the largest |v|.
std::vector<double> tolerance_of(const AttentionCase& c, const AttentionData& data, const TestBatch& batch) {
    std::vector<double> tolerance;
    const auto d = static_cast<std::size_t>(c.head_dim);
    const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    std::vector<std::vector<float>> keys, values;
    for (std::size_t p = 0; p < kParts.size(); ++p) {
        keys.push_back(rounded(data.keys[p], c.type));
        values.push_back(rounded(data.values[p], c.type));
    }
    for (std::size_t r = 0; r < batch.positions.size(); ++r)
        for (int head = 0; head < c.heads; ++head) {
            const auto p = static_cast<std::size_t>(batch.row_sequence[r]);
            const std::int32_t position = batch.positions[r], first = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
            const auto kv_head = static_cast<std::size_t>(head / (c.heads / c.kv_heads));
            double key_norm = 0.0, value = 0.0;
            for (std::int32_t j = first; j <= position; ++j) {
                const std::size_t at = (static_cast<std::size_t>(j) * static_cast<std::size_t>(c.kv_heads) + kv_head) * d;
                key_norm = std::max(key_norm, norm_of(&keys[p][at], c.head_dim));
                for (std::size_t i = 0; i < d; ++i) value = std::max(value, std::abs(static_cast<double>(values[p][at + i])));
            }
            const double q_norm =
                norm_of(&data.q[(r * static_cast<std::size_t>(c.heads) + static_cast<std::size_t>(head)) * d], c.head_dim);
            const double distance = position - first, n = distance + 1.0;
            const double slope = c.alibi ? static_cast<double>(data.slopes[static_cast<std::size_t>(head)]) : 0.0;
            const double error =
                scale * sum_tolerance(c.head_dim, q_norm, key_norm) +
                kUnit * (8.0 * static_cast<double>(c.soft_cap) + 4.0 * slope * distance + 2.0 * scale * q_norm * key_norm);
            const double relative = std::expm1(2.0 * error) + kUnit * (8.0 + 32.0 + 2.0 * (4.0 + std::sqrt(n)));
            tolerance.insert(tolerance.end(), d, relative * value);
        }
    return tolerance;
}

void check_attention(const AttentionCase& c) {
    const AttentionData data(c);
    TestBatch batch(kParts, kSequences, kBlocksEach);
    forget_blocks(batch, kParts, c.window);
    const std::vector<double> tolerance = tolerance_of(c, data, batch);
    std::vector<float> expected;
    std::map<std::string, std::vector<float>> first;
    const std::size_t columns = static_cast<std::size_t>(c.heads) * static_cast<std::size_t>(c.head_dim);
    for (TestedDevice& device : tested_devices()) {
        const std::string what = fmt::format("{}: {}", device.name, c.name());
        const auto storage = filled_storage(device, c, data);
        const std::vector<float> found = attend(device, c, data, batch, data.q, *storage);
        if (expected.empty()) expected = found;
        expect_close(found, expected, tolerance, what);
        if (!device.invariant) continue;
        if (!first.contains(device.group)) {
            first[device.group] = found;
            // The same rows in other batches: each sequence alone, by its first rows, then the rest.
            std::size_t row = 0;
            for (const SequenceRows& part : kParts) {
                const std::int32_t half = part.rows / 3 + 1;
                for (const SequenceRows& piece : {SequenceRows{part.sequence, part.begin, std::min(half, part.rows)},
                                                  SequenceRows{part.sequence, part.begin + half, part.rows - half}}) {
                    if (piece.rows <= 0) continue;
                    TestBatch alone(std::span(&piece, 1), kSequences, kBlocksEach);
                    forget_blocks(alone, std::span(&piece, 1), c.window);
                    const auto count = static_cast<std::size_t>(piece.rows) * columns;
                    expect_same_bits(attend(device, c, data, alone, std::span(data.q).subspan(row * columns, count), *storage),
                                     std::span(found).subspan(row * columns, count), what + ", in another batch");
                    row += static_cast<std::size_t>(piece.rows);
                }
            }
        }
        expect_same_bits(found, first[device.group], what + ", with other threads");
        if (::testing::Test::HasFailure()) return;
    }
}

TEST(AttentionConformance, HeadSizesAndSharing) {
    for (const int head_dim : {16, 32, 48, 64, 80, 96, 112, 128, 192, 256})
        check_attention({.heads = 4, .kv_heads = 2, .head_dim = head_dim});
    for (const int ratio : {1, 2, 3, 4, 5, 6, 7, 8}) check_attention({.heads = 2 * ratio, .kv_heads = 2, .head_dim = 32});
    check_attention({.heads = 9, .kv_heads = 3, .head_dim = 64});
    check_attention({.heads = 1, .kv_heads = 1, .head_dim = 64});
    check_attention({.heads = 7, .kv_heads = 1, .head_dim = 8});
}

TEST(AttentionConformance, CacheTypes) {
    for (const KvType type : {KvType::f16, KvType::bf16})
        for (const int head_dim : {16, 64, 80, 128})
            check_attention({.heads = 6, .kv_heads = 2, .head_dim = head_dim, .window = 0, .type = type});
}

TEST(AttentionConformance, Windows) {
    for (const int window : {1, 2, 63, 64, 65, 100, 1000}) {
        check_attention({.heads = 4, .kv_heads = 2, .head_dim = 32, .window = window});
        check_attention({.heads = 4, .kv_heads = 4, .head_dim = 64, .window = window, .type = KvType::bf16, .soft_cap = 20.0f});
    }
}

TEST(AttentionConformance, SoftCapAlibiAndSinks) {
    check_attention({.heads = 4, .kv_heads = 2, .head_dim = 64, .soft_cap = 5.0f});
    check_attention({.heads = 4, .kv_heads = 2, .head_dim = 64, .alibi = true});
    check_attention({.heads = 4, .kv_heads = 2, .head_dim = 64, .sinks = true});
    check_attention({.heads = 8,
                     .kv_heads = 1,
                     .head_dim = 48,
                     .window = 70,
                     .type = KvType::f16,
                     .soft_cap = 50.0f,
                     .alibi = true,
                     .sinks = true});
}

TEST(AttentionConformance, ACopiedBlockReadsTheSame) {
    const AttentionCase c{.heads = 4, .kv_heads = 2, .head_dim = 32, .window = 0, .type = KvType::f16};
    const AttentionData data(c);
    for (TestedDevice& device : tested_devices()) {
        TestBatch batch(kParts, kSequences, kBlocksEach);
        const auto storage = filled_storage(device, c, data);
        const std::vector<float> before = attend(device, c, data, batch, data.q, *storage);
        storage->reserve_blocks(batch.blocks + 1);
        EXPECT_GE(storage->reserved_blocks(), batch.blocks + 1);
        for (const std::size_t entry : {std::size_t{0}, std::size_t{kBlocksEach}, std::size_t{kBlocksEach} + 2}) {
            device.backend->copy_block(*storage, batch.tables[entry], static_cast<std::int32_t>(batch.blocks));
            TestBatch copied(kParts, kSequences, kBlocksEach);
            copied.tables[entry] = static_cast<std::int32_t>(batch.blocks);
            copied.refresh();
            expect_same_bits(attend(device, c, data, copied, data.q, *storage), before, device.name);
        }
    }
}

TEST(AttentionConformance, NoRowsDoNothing) {
    const AttentionCase c{.heads = 4, .kv_heads = 2, .head_dim = 32};
    const AttentionData data(c);
    for (TestedDevice& device : tested_devices()) {
        const auto storage = filled_storage(device, c, data);
        const TestBatch none({}, kSequences, kBlocksEach);
        EXPECT_TRUE(attend(device, c, data, none, {}, *storage).empty());
    }
}

}  // namespace
}  // namespace narae::test
