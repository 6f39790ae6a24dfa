// fp8_e4m3, mxfp4 and nvfp4: bit for bit with compressed-tensors and transformers, and what follows from the descriptions.
#include "base/error.h"
#include "formats/fp4_e2m1.h"
#include "formats/fp8_e4m3.h"
#include "formats/microscaling.h"
#include "formats/quantized_goldens.h"
#include "support/random_weights.h"
#include "tensor/scalar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace narae::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Format& fp8() { return *find_format("fp8_e4m3"); }
const Format& mxfp4() { return *find_format("mxfp4"); }
const Format& nvfp4() { return *find_format("nvfp4"); }

std::string name_of(const Json& golden) { return golden.at("format").get<std::string>(); }

OwnedWeight weight_of(const Json& golden) {
    const std::int64_t codes = Goldens::columns(golden, "codes");
    return make_weight(*find_format(name_of(golden)), Goldens::rows(golden, "codes"),
                       name_of(golden) == "fp8_e4m3" ? codes : 2 * codes, scaling_of(golden, dtype_of(golden.at("scales"))), {},
                       Goldens::name(golden));
}

TEST(FloatFormatGoldens, UnpackingGivesTheOriginalsValues) {
    const Goldens goldens("floats");
    std::map<std::string, int> checked;
    for (const Json& golden : goldens.cases()) {
        const OwnedWeight owned = weight_of(golden);
        put(owned.bytes_of(BufferRole::codes), goldens.bytes(golden, "codes"));
        put(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales"));
        if (Goldens::has(golden, "global_scale"))
            put(owned.bytes_of(BufferRole::global_scale), goldens.bytes(golden, "global_scale"));
        // compressed-tensors computes fp8's values in the type of the scales.
        const DType scales = dtype_of(golden.at("scales"));
        const DType dtype = scales == DType::f16 || scales == DType::bf16 ? scales : DType::f32;
        EXPECT_EQ(first_difference(stored_as(dtype, unpack_all(owned.weight)), goldens.bytes(golden, "values")), "")
            << owned.weight.name;
        ++checked[name_of(golden)];
    }
    EXPECT_THAT(checked,
                testing::ElementsAre(testing::Pair("fp8_e4m3", 18), testing::Pair("mxfp4", 3), testing::Pair("nvfp4", 6)));
}

TEST(FloatFormatGoldens, PackingChoosesTheOriginalsCodesAndScales) {
    const Goldens goldens("floats");
    int checked = 0;
    for (const Json& golden : goldens.cases()) {
        if (!Goldens::has(golden, "input")) continue;
        const OwnedWeight owned = weight_of(golden);
        const std::vector<float> input = goldens.array<float>(golden, "input");
        const DType model = dtype_of(golden.at("model"));
        if (name_of(golden) == "mxfp4")
            pack_mxfp4(model, input.data(), owned);
        else if (name_of(golden) == "nvfp4")
            pack_nvfp4(model, input.data(), owned);
        else
            pack_fp8_e4m3({.rule = golden.at("rule") == "transformers" ? Fp8Rule::transformers : Fp8Rule::compressed_tensors,
                           .model = model},
                          input.data(), owned);
        if (Goldens::has(golden, "global_scale")) {
            EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::global_scale), goldens.bytes(golden, "global_scale")), "")
                << "global scale " << owned.weight.name;
        }
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales")), "")
            << "scales " << owned.weight.name;
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::codes), goldens.bytes(golden, "codes")), "")
            << "codes " << owned.weight.name;
        ++checked;
    }
    EXPECT_EQ(checked, 26);
}

// Every code under scales of every type and shape: exactly code * scale, rounded once.
TEST(Fp8, EveryCodeHasItsValue) {
    const std::int64_t out = 5, in = 256;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e8m0})
        for (const auto& [rows, columns] :
             {std::pair(kWhole, kWhole), std::pair<std::int64_t, std::int64_t>(1, kWhole),
              std::pair<std::int64_t, std::int64_t>(2, 100), std::pair<std::int64_t, std::int64_t>(1, 32),
              std::pair<std::int64_t, std::int64_t>(128, 128)}) {
            const OwnedWeight owned = make_weight(fp8(), out, in, {.rows = rows, .columns = columns, .dtype = dtype});
            const ScaleGrid grid = scale_grid(owned.weight);
            EXPECT_EQ(grid.rows, rows >= out ? 1 : (out + rows - 1) / rows);
            EXPECT_EQ(grid.columns, columns >= in ? 1 : (in + columns - 1) / columns);
            const auto scale_of = [&](std::int64_t i) {
                const float scale = 0.0037f * static_cast<float>(i + 1) * (i % 3 == 1 ? 1e4f : 1.0f);
                return rounded_to(dtype, i % 2 == 1 && dtype != DType::f8_e8m0 ? -scale : scale);
            };
            for (std::int64_t i = 0; i < grid.rows * grid.columns; ++i)
                store_number(owned.bytes_of(BufferRole::scales), dtype, i, scale_of(i));
            for (std::int64_t i = 0; i < out * in; ++i)
                owned.bytes_of(BufferRole::codes)[static_cast<std::size_t>(i)] = static_cast<std::byte>(i * 7 % 256);
            const std::vector<float> values = unpack_all(owned.weight);
            for (std::int64_t i = 0; i < out * in; ++i) {
                const double code = float8_e4m3_to_float(static_cast<std::uint8_t>(i * 7 % 256));
                const std::int64_t row = i / in, column = i % in;
                const double scale = scale_of(row / rows * grid.columns + column / columns);
                const float value = values[static_cast<std::size_t>(i)];
                if (std::isnan(code))
                    ASSERT_TRUE(std::isnan(value));
                else
                    ASSERT_EQ(value, static_cast<float>(code * scale)) << dtype_name(dtype) << " " << i;
            }
        }
}

// Relative to the value 2^-4 at most, and 2^-10 of the block's 2^-6 x scale below e4m3's normal numbers.
TEST(Fp8, RoundingStaysWithinHalfAStep) {
    for (const Fp8Rule rule : {Fp8Rule::compressed_tensors, Fp8Rule::transformers})
        for (const DType dtype : {DType::f32, DType::f8_e8m0})
            for (const float deviation : {1.0f, 1e-6f, 1e6f}) {
                const std::int64_t out = 33, in = 70;
                const std::vector<float> x = random_values(static_cast<std::size_t>(out * in), 91, deviation);
                const OwnedWeight owned = make_weight(fp8(), out, in, {.rows = 16, .columns = 32, .dtype = dtype});
                pack_fp8_e4m3({.rule = rule}, x.data(), owned);
                const std::vector<float> y = unpack_all(owned.weight);
                for (std::int64_t i = 0; i < out * in; ++i) {
                    const std::int64_t block = i / in / 16 * 3 + i % in / 32;
                    const double scale = load_number(owned.bytes_of(BufferRole::scales), dtype, block),
                                 value = x[static_cast<std::size_t>(i)];
                    // microscaling's scales may be too small by a factor of 1.75 / (448 / 256): nothing, so no code saturates.
                    ASSERT_LE(std::fabs(value), scale * 448 * (1 + 0x1p-22));
                    ASSERT_LE(std::fabs(y[static_cast<std::size_t>(i)] - value),
                              std::max(std::fabs(value) * 0x1p-4, scale * 0x1p-10) * (1 + 0x1p-20))
                        << i;
                }
            }
}

TEST(Fp4, EveryCodeHasItsValue) {
    for (const std::int64_t in : {1, 15, 16, 33, 64}) {
        const std::int64_t out = 4;
        const OwnedWeight mx = make_weight(mxfp4(), out, in, mxfp4().scaling),
                          nv = make_weight(nvfp4(), out, in, nvfp4().scaling);
        const std::int64_t row_bytes = (in + 1) / 2, mx_groups = (in + 31) / 32, nv_groups = (in + 15) / 16;
        ASSERT_EQ(mx.bytes_of(BufferRole::codes).size(), static_cast<std::size_t>(out * row_bytes));
        ASSERT_EQ(mx.bytes_of(BufferRole::scales).size(), static_cast<std::size_t>(out * mx_groups));
        ASSERT_EQ(nv.bytes_of(BufferRole::scales).size(), static_cast<std::size_t>(out * nv_groups));
        const auto mx_code = [](std::int64_t i) { return static_cast<std::uint8_t>(i % 3 == 0 ? 0 : i % 3 == 1 ? 120 : 250); };
        const auto nv_code = [](std::int64_t i) { return static_cast<std::uint8_t>((i * 29 + 1) % 127); };
        for (std::int64_t i = 0; i < out * mx_groups; ++i)
            mx.bytes_of(BufferRole::scales)[static_cast<std::size_t>(i)] = static_cast<std::byte>(mx_code(i));
        for (std::int64_t i = 0; i < out * nv_groups; ++i)
            nv.bytes_of(BufferRole::scales)[static_cast<std::size_t>(i)] = static_cast<std::byte>(nv_code(i));
        const float global = 2432.5f;
        store_number(nv.bytes_of(BufferRole::global_scale), DType::f32, 0, global);
        const auto code_at = [](std::int64_t row, std::int64_t column) {
            return static_cast<std::uint8_t>((row * 11 + column) % 16);
        };
        for (std::int64_t row = 0; row < out; ++row)
            for (std::int64_t column = 0; column < in; ++column) {
                const auto byte = static_cast<std::size_t>(row * row_bytes + column / 2);
                const auto nibble = static_cast<std::byte>(code_at(row, column) << (column % 2 == 0 ? 0 : 4));
                mx.bytes_of(BufferRole::codes)[byte] |= nibble;
                nv.bytes_of(BufferRole::codes)[byte] |= nibble;
            }
        const std::vector<float> mx_values = unpack_all(mx.weight), nv_values = unpack_all(nv.weight);
        for (std::int64_t row = 0; row < out; ++row)
            for (std::int64_t column = 0; column < in; ++column) {
                const float code = float4_e2m1_to_float(code_at(row, column));
                const auto at = static_cast<std::size_t>(row * in + column);
                EXPECT_EQ(mx_values[at], static_cast<float>(std::ldexp(code, mx_code(row * mx_groups + column / 32) - 127)));
                EXPECT_EQ(nv_values[at], code * (float8_e4m3_to_float(nv_code(row * nv_groups + column / 16)) / global));
                EXPECT_EQ(std::signbit(mx_values[at]), (code_at(row, column) & 8) != 0);
            }
    }
}

// E2M1's steps are 0.5 below 2, then 1, then 2; nothing saturates but what lies between 1.75 and 2 times a power of two.
TEST(Fp4, RoundingStaysWithinHalfAStep) {
    const std::int64_t out = 21, in = 70;
    for (const float deviation : {1.0f, 1e-6f, 1e6f})
        for (const Format* format : {&mxfp4(), &nvfp4()}) {
            const std::vector<float> x = random_values(static_cast<std::size_t>(out * in), 101, deviation);
            const OwnedWeight owned = pack_weight(*format, out, in, x);
            const std::vector<float> y = unpack_all(owned.weight);
            const std::int64_t block = format->scaling.columns, groups = (in + block - 1) / block;
            for (std::int64_t i = 0; i < out * in; ++i) {
                double scale =
                    load_number(owned.bytes_of(BufferRole::scales), format->scaling.dtype, i / in * groups + i % in / block);
                if (format == &nvfp4()) scale /= load_number(owned.bytes_of(BufferRole::global_scale), DType::f32, 0);
                const double steps = std::fabs(x[static_cast<std::size_t>(i)]) / scale;
                // A microscaling scale leaves magnitudes up to 7; e4m3 rounds nvfp4's down by 2^-4 at most.
                ASSERT_LE(steps, (format == &mxfp4() ? 7.0 : 6.0 * (1 + 0x1p-4)) * (1 + 0x1p-20)) << i;
                const double half_a_step = steps < 2 ? 0.25 : steps < 4 ? 0.5 : 1.0;
                ASSERT_LE(std::fabs(double{y[static_cast<std::size_t>(i)]} - double{x[static_cast<std::size_t>(i)]}),
                          scale * half_a_step * (1 + 0x1p-20))
                    << i;
            }
        }
}

TEST(Fp4, WeightsMayShareAGlobalScale) {
    const std::vector<float> x = random_values(4 * 32, 111);
    const OwnedWeight owned = make_weight(nvfp4(), 4, 32, nvfp4().scaling);
    pack_nvfp4(DType::f32, x.data(), owned, 100.0f);
    EXPECT_EQ(load_number(owned.bytes_of(BufferRole::global_scale), DType::f32, 0), 100.0f);
    const std::vector<float> y = unpack_all(owned.weight);
    double error = 0.0, size = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        error += std::pow(double{x[i]} - double{y[i]}, 2);
        size += std::pow(double{x[i]}, 2);
    }
    EXPECT_LT(error, size * 0.25 * 0.25);  // half a step of E2M1 is a quarter of the value at most, above the smallest codes
}

TEST(Microscaling, RoundsUpFromSevenQuarters) {
    for (const DType model : {DType::f32, DType::bf16, DType::f16}) {
        EXPECT_EQ(microscaling_scale(model, 6.0f, 2), 1.0f);
        EXPECT_EQ(microscaling_scale(model, 4.0f, 2), 1.0f);
        EXPECT_EQ(microscaling_scale(model, 6.96875f, 2), 1.0f);
        EXPECT_EQ(microscaling_scale(model, 7.0f, 2), 2.0f);
        EXPECT_EQ(microscaling_scale(model, 448.0f, 8), 2.0f);
        EXPECT_EQ(microscaling_scale(model, 447.0f, 8), model == DType::bf16 ? 2.0f : 1.0f);  // in bf16 448
        EXPECT_EQ(microscaling_scale(model, 0.0f, 2), model == DType::f16 ? 1.0f : 0x1p-127f);
    }
    EXPECT_EQ(microscaling_scale(DType::f32, 3e38f, 2), 0x1p126f);
    EXPECT_EQ(microscaling_scale(DType::f32, 1e-40f, 2), 0x1p-127f);
}

TEST(FloatFormats, AnyInputIsTaken) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const Format* format : {&fp8(), &mxfp4(), &nvfp4()})
        for (const DType model : {DType::f32, DType::f16, DType::bf16})
            for (const float special : {nan, -nan, infinity, -infinity, 3e38f, -3e38f, 1e-45f, -1e-45f, 0.0f, -0.0f})
                for (const bool alone : {true, false}) {
                    std::vector<float> x = alone ? std::vector<float>(3 * 40, special) : random_values(3 * 40, 121);
                    x[0] = x[119] = special;
                    const OwnedWeight owned = make_weight(*format, 3, 40, format->scaling);
                    if (format == &mxfp4()) pack_mxfp4(model, x.data(), owned);
                    if (format == &nvfp4()) pack_nvfp4(model, x.data(), owned);
                    if (format == &fp8())
                        for (const Fp8Rule rule : {Fp8Rule::transformers, Fp8Rule::compressed_tensors})
                            pack_fp8_e4m3({.rule = rule, .model = model}, x.data(), owned);
                    const std::vector<float> values = unpack_all(owned.weight);
                    if (alone && special == 0.0f) {
                        for (const float value : values) EXPECT_EQ(value, 0.0f);
                    }
                }
}

TEST(FloatFormats, BitsPerWeightCountEveryBuffer) {
    EXPECT_EQ(make_weight(fp8(), 256, 256, fp8().scaling).weight.bits_per_weight(), 8.0 + 32.0 / (128 * 128));
    EXPECT_EQ(make_weight(mxfp4(), 4, 64, mxfp4().scaling).weight.bits_per_weight(), 4.25);
    EXPECT_EQ(make_weight(nvfp4(), 4, 64, nvfp4().scaling).weight.bits_per_weight(), 4.5 + 32.0 / 256);
}

TEST(FloatFormats, ValidateNamesWhatIsWrong) {
    const auto expect_error = [](const OwnedWeight& owned, auto change, const std::string& message) {
        EXPECT_NO_THROW(validate(owned.weight));
        PackedWeight weight = owned.weight;
        change(weight);
        EXPECT_THAT([&] { validate(weight); }, ThrowsMessage<BadFileError>(AllOf(HasSubstr("layers.0.k"), HasSubstr(message))));
    };
    const OwnedWeight eight = make_weight(fp8(), 200, 130, fp8().scaling, {}, "layers.0.k");
    expect_error(
        eight, [](auto& w) { w.out = 300; }, "26000 bytes of codes, shape [300, 130]");
    expect_error(
        eight, [](auto& w) { w.scaling.rows = 96; },
        "16 bytes of scales, shape [200, 130] in format fp8_e4m3 with a scale for [96, 128] elements needs 24");
    expect_error(
        eight, [](auto& w) { w.scaling.dtype = DType::f16; }, "needs 8");
    expect_error(
        eight, [](auto& w) { w.scaling.dtype = DType::f8_e4m3; }, "scales of type F8_E4M3");
    expect_error(
        eight, [](auto& w) { w.scaling.columns = -1; }, "need at least one");
    expect_error(
        eight,
        [](auto& w) {
            w.buffers.push_back({w.codes(), BufferRole::zeros});
        },
        "a buffer of zeros");
    expect_error(
        eight, [](auto& w) { w.out = std::int64_t{1} << 62; }, "overflows");
    const OwnedWeight mx = make_weight(mxfp4(), 3, 33, mxfp4().scaling, {}, "layers.0.k");
    expect_error(
        mx, [](auto& w) { w.in = 35; },
        "51 bytes of codes, shape [3, 35] in format mxfp4 with a scale for [1, 32] elements needs 54");
    expect_error(
        mx, [](auto& w) { w.scaling.columns = 16; }, "a scale for [1, 16] elements, format mxfp4 needs [1, 32]");
    expect_error(
        mx, [](auto& w) { w.scaling.dtype = DType::f32; }, "scales of type F32, format mxfp4 needs F8_E8M0");
    expect_error(
        mx, [](auto& w) { w.scaling.rows = 2; }, "a scale for [2, 32]");
    const OwnedWeight nv = make_weight(nvfp4(), 3, 33, nvfp4().scaling, {}, "layers.0.k");
    expect_error(
        nv, [](auto& w) { w.buffers.pop_back(); }, "0 buffers of global scale");
    expect_error(
        nv, [](auto& w) { w.buffers.back().bytes = w.buffers.back().bytes.first(3); }, "3 bytes of global scale");
    expect_error(
        nv, [](auto& w) { w.in = std::numeric_limits<std::int64_t>::max(); }, "overflows");
}

}  // namespace
}  // namespace narae::test
