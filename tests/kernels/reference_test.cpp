// The reference itself, against numbers computed by hand or by the original libraries.
#include "kernels/activation_rounding.h"
#include "kernels/ref/activation.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/kv_storage.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/rope.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace narae::kernels {
namespace {

TEST(Reference, RmsNorm) {
    std::vector<float> x = {3.0f, 4.0f}, weight = {2.0f, -1.0f}, y(2);
    Norm norm;
    norm.eps = 0.0f;
    ref::norm(2, x.data(), norm, y.data());
    EXPECT_FLOAT_EQ(y[0], 3.0f / std::sqrt(12.5f));
    norm.weight = make_tensor(weight.data(), DType::f32, {2});
    norm.eps = 12.5f;
    ref::norm(2, x.data(), norm, y.data());
    EXPECT_FLOAT_EQ(y[0], 1.2f);
    EXPECT_FLOAT_EQ(y[1], -0.8f);
}

TEST(Reference, LayerNorm) {
    std::vector<float> x = {1.0f, 2.0f, 3.0f, 6.0f}, weight = {1.0f, 2.0f, 1.0f, 1.0f}, bias = {0.0f, 10.0f, 0.0f, 0.0f}, y(4);
    Norm norm;
    norm.kind = NormKind::layer;
    norm.eps = 0.5f;  // mean 3, biased variance 3.5
    norm.weight = make_tensor(weight.data(), DType::f32, {4});
    norm.bias = make_tensor(bias.data(), DType::f32, {4});
    ref::norm(4, x.data(), norm, y.data());
    EXPECT_EQ(y, (std::vector<float>{-1.0f, 9.0f, 0.0f, 1.5f}));
    norm.kind = NormKind::none;
    ref::norm(4, x.data(), norm, y.data());
    EXPECT_EQ(y, x);
}

TEST(Reference, LinearKeepsEveryBitOfItsSum) {
    const std::vector<float> weights = {1.0f, 1.0f, 1.0f, 1e8f, 1.0f, -1e8f}, bias = {0.5f, 0.0f};
    const std::vector<float> x = {1.0f, 2.0f, 1.0f};
    std::vector<double> seen(3);
    ref::seen_activations(3, x.data(), Activations::f32, seen.data());
    std::vector<float> y(2);
    ref::linear(3, 2, seen.data(), weights.data(), bias.data(), y.data());
    EXPECT_EQ(y, (std::vector<float>{4.5f, 2.0f}));
}

TEST(Reference, ActivationsAreRoundedToEvenInBlocks) {
    std::vector<float> x(32, 0.0f);
    x[0] = -127.0f;  // scale 1
    x[1] = 2.5f;
    x[2] = 3.5f;
    x[3] = -0.5f;
    x[4] = 0.75f;
    std::array<std::int8_t, 32> codes{};
    EXPECT_EQ(round_activations(x.data(), codes.data()), 1.0f);
    EXPECT_EQ(codes[0], -127);
    EXPECT_EQ(codes[1], 2);
    EXPECT_EQ(codes[2], 4);
    EXPECT_EQ(codes[3], 0);
    EXPECT_EQ(codes[4], 1);
    std::vector<double> seen(32);
    ref::seen_activations(32, x.data(), Activations::int8, seen.data());
    EXPECT_EQ(seen[2], 4.0);

    const std::vector<float> tiny(32, 1e-40f);  // 1 / scale would overflow
    EXPECT_EQ(round_activations(tiny.data(), codes.data()), 0.0f);
    EXPECT_EQ(codes[5], 0);
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        x[9] = bad;
        EXPECT_TRUE(std::isnan(round_activations(x.data(), codes.data())));
        EXPECT_EQ(codes[0], 0);
    }
    const std::vector<float> largest(32, std::numeric_limits<float>::max());
    EXPECT_EQ(round_activations(largest.data(), codes.data()), std::numeric_limits<float>::max() / 127.0f);
    EXPECT_EQ(codes[31], 127);
}

TEST(Reference, ActivationFunctions) {  // values of PyTorch's float64 functions
    struct Row {
        double x, gelu_erf, gelu_tanh, silu, quick_gelu;
    };
    for (const Row& row :
         {Row{-3.0, -0.00404969, -0.00363739, -0.14227762, -0.01807131},
          Row{-1.0, -0.15865525, -0.15880801, -0.26894142, -0.15420423},
          Row{-0.5, -0.15426877, -0.15428599, -0.18877033, -0.14961156},
          Row{0.5, 0.34573123, 0.34571401, 0.31122967, 0.35038844}, Row{1.0, 0.84134475, 0.84119199, 0.73105858, 0.84579577},
          Row{3.0, 2.99595031, 2.99636261, 2.85772238, 2.98192869}}) {
        constexpr double kDigits = 6e-9;
        EXPECT_NEAR(ref::activate(Activation::gelu_erf, row.x), row.gelu_erf, kDigits);
        EXPECT_NEAR(ref::activate(Activation::gelu_tanh, row.x), row.gelu_tanh, kDigits);
        EXPECT_NEAR(ref::activate(Activation::silu, row.x), row.silu, kDigits);
        EXPECT_NEAR(ref::activate(Activation::quick_gelu, row.x), row.quick_gelu, kDigits);
        EXPECT_EQ(ref::activate(Activation::relu, row.x), std::max(row.x, 0.0));
    }
}

TEST(Reference, RotationsTurnPairs) {
    const std::vector<float> inv_freq = {static_cast<float>(std::numbers::pi) / 2.0f, 0.0f};
    std::vector<float> table(4);
    ref::rope_row(1, inv_freq, 2.0f, table.data());  // cos 0, 1; sin 1, 0; times 2
    EXPECT_NEAR(table[0], 0.0f, 1e-6f);
    EXPECT_EQ(table[1], 2.0f);
    EXPECT_EQ(table[2], 2.0f);
    EXPECT_EQ(table[3], 0.0f);
    table = {0.0f, 1.0f, 1.0f, 0.0f};
    std::vector<float> halves = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f}, turns = halves;
    ref::rotate(halves.data(), {4, false}, table.data());
    EXPECT_EQ(halves, (std::vector<float>{-3.0f, 2.0f, 1.0f, 4.0f, 5.0f}));
    ref::rotate(turns.data(), {4, true}, table.data());
    EXPECT_EQ(turns, (std::vector<float>{-2.0f, 1.0f, 3.0f, 4.0f, 5.0f}));
}

TEST(Reference, AttentionWeighsValues) {
    const std::vector<float> q = {1.0f, 0.0f}, k = {std::log(3.0f), 5.0f, 0.0f, -5.0f}, v = {4.0f, 0.0f, 8.0f, 4.0f};
    std::vector<float> out(2);
    ref::attend(q.data(), 2, 2, k.data(), v.data(), {}, out.data());  // weights 3 : 1
    EXPECT_FLOAT_EQ(out[0], 5.0f);
    EXPECT_FLOAT_EQ(out[1], 1.0f);
    ref::attend(q.data(), 2, 2, k.data(), v.data(),
                {.scale = 1.0f, .soft_cap = 0.0f, .alibi_slope = std::log(3.0f), .sink = {}}, out.data());
    EXPECT_FLOAT_EQ(out[0], 6.0f);  // the bias of one position back undoes the score
    ref::attend(q.data(), 2, 2, k.data(), v.data(), {.scale = 1.0f, .soft_cap = 0.0f, .alibi_slope = 0.0f, .sink = 0.0f},
                out.data());
    EXPECT_FLOAT_EQ(out[0], 4.0f);  // 3 : 1 : 1 of nothing
    ref::attend(q.data(), 2, 2, k.data(), v.data(),
                {.scale = 1e6f, .soft_cap = std::log(3.0f), .alibi_slope = 0.0f, .sink = {}}, out.data());
    EXPECT_FLOAT_EQ(out[0], 5.0f);  // a score far over the cap is the cap
}

TEST(Reference, KvStorageRoundsAndGrows) {
    for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16}) {
        ref::RefKvStorage storage({.layers = 2, .kv_heads = 2, .head_dim = 3, .window = 0, .type = type});
        EXPECT_EQ(storage.group().block_bytes(), 2 * 64 * 2 * 2 * 3 * (type == KvType::f32 ? 4 : 2));
        storage.reserve_blocks(1);
        const std::vector<float> values = {1.0f, -2.0f, 1.0f + 0x1p-12f};
        storage.store(1, ref::KvPart::value, 0, 63, 1, values.data());
        storage.reserve_blocks(5);
        storage.reserve_blocks(3);
        EXPECT_EQ(storage.reserved_blocks(), 5);
        storage.copy_block(0, 4);
        std::vector<float> found(3);
        storage.load(1, ref::KvPart::value, 4, 63, 1, found.data());
        EXPECT_EQ(found[0], 1.0f);
        EXPECT_EQ(found[1], -2.0f);
        EXPECT_EQ(found[2], type == KvType::f32 ? values[2] : 1.0f);
        storage.load(1, ref::KvPart::key, 4, 63, 1, found.data());
        EXPECT_EQ(found[0], 0.0f);
    }
}

}  // namespace
}  // namespace narae::kernels
