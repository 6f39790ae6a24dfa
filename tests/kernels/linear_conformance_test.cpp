// Products with packed weights on every device, in every format, against the reference.
#include "base/error.h"
#include "support/tested_devices.h"
#include "support/tolerance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace narae::test {
namespace {

using kernels::Activations;
using kernels::Backend;
using kernels::DeviceWeight;
using kernels::Fuse;
using kernels::Linear;

struct Expected {
    std::vector<float> values;
    std::vector<double> tolerance;
};

// Every row of x through one weight.
Expected expected_product(std::span<const float> x, const KnownWeight& weight, const float* bias, Activations activations) {
    const auto in = static_cast<std::size_t>(weight.packed.weight.in);
    Expected expected;
    for (std::size_t begin = 0; begin < x.size(); begin += in) {
        const KnownOutput row = known_product(exact_input(x.subspan(begin, in)), weight, bias, activations);
        expected.values.insert(expected.values.end(), row.values.begin(), row.values.end());
        expected.tolerance.insert(expected.tolerance.end(), row.errors.begin(), row.errors.end());
    }
    return expected;
}

// The rows that a group of devices (one instruction set, any threads) has computed first, for comparing bits.
class SameBits {
public:
    void check(const TestedDevice& device, const std::vector<float>& found, std::string_view what) {
        if (!device.invariant) return;
        std::vector<float>& first = first_[device.group];
        const std::size_t common = std::min(first.size(), found.size());
        expect_same_bits(std::span(found).first(common), std::span(first).first(common), what);
        if (found.size() > first.size()) first = found;
    }

private:
    std::map<std::string, std::vector<float>> first_;
};

std::vector<float> inputs_for(int rows, std::int64_t in, std::uint64_t seed) {
    std::vector<float> x = random_values(static_cast<std::size_t>(rows * in), seed);
    if (rows > 2) std::fill_n(x.begin() + in, in, 0.0f);  // a row of zeros
    return x;
}

void check_linear(const Format& format, std::int64_t out, std::int64_t in, std::span<const int> row_counts,
                  Activations activations, bool biased) {
    const int most = *std::ranges::max_element(row_counts);
    const KnownWeight weight = known_weight(format, out, in, static_cast<std::uint64_t>(out * 31 + in));
    const std::vector<float> x = inputs_for(most, in, static_cast<std::uint64_t>(in + out));
    const std::vector<float> bias = random_values(static_cast<std::size_t>(out), 5);
    std::map<Activations, Expected> expected;
    SameBits same_bits;
    for (TestedDevice& device : tested_devices()) {
        if (activations == Activations::automatic && device.host) continue;  // int8, which is asked for too
        const auto prepared = device.backend->prepare(std::span(&weight.packed.weight, 1), Fuse::none, activations);
        ASSERT_EQ(prepared->out, out);
        ASSERT_EQ(prepared->in, in);
        ASSERT_EQ(prepared->activations.size(), 1u) << device.name;
        const Activations seen = prepared->activations[0];
        if (!expected.contains(seen)) expected[seen] = expected_product(x, weight, biased ? bias.data() : nullptr, seen);
        const Guarded device_bias(device, 1, out, bias);
        Linear linear{.weight = prepared.get(), .bias = {}};
        if (biased) linear.bias = device_bias.vector();
        for (const int rows : row_counts) {
            const std::string what =
                fmt::format("{}: {} [{}, {}] ({}), {} rows, {}{}", device.name, format.name, out, in, prepared->kernel, rows,
                            seen == Activations::int8 ? "int8" : "f32", biased ? ", bias" : "");
            const auto inputs = static_cast<std::size_t>(rows * in), outputs = static_cast<std::size_t>(rows * out);
            const Guarded device_x(device, rows, in, std::span(x).first(inputs)), y(device, rows, out);
            device.backend->linear(rows, device_x.tensor(), linear, y.tensor());
            const std::vector<float> found = y.values();
            expect_close(found, std::span(expected[seen].values).first(outputs),
                         std::span(expected[seen].tolerance).first(outputs), what);
            same_bits.check(device, found, what);
            if (::testing::Test::HasFailure()) return;
        }
    }
}

class LinearConformance : public ::testing::TestWithParam<const Format*> {};

TEST_P(LinearConformance, EveryShapeAgreesWithTheReference) {
    const Format& format = *GetParam();
    constexpr std::array kFew = {0, 1, 2, 3, 7, 8, 13};
    constexpr std::array kMany = {1, 13, 64, 129};
    for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
        if (activations == Activations::int8 && format.dtype) continue;  // sees f32, as above
        for (const std::int64_t in : {1, 2, 7, 32, 33, 64, 96, 256, 576}) {
            if (in % format.block != 0) continue;
            for (const std::int64_t out : {1, 3, 15, 16, 17, 48})
                check_linear(format, out, in, kFew, activations, out % 2 == 1);
        }
        const std::int64_t wide = format.block > 64 ? 512 : 576;
        for (const std::int64_t out : {17, 48}) check_linear(format, out, wide, kMany, activations, false);
        check_linear(format, 1000, wide, std::array{1, 7}, activations, true);
        check_linear(format, 17, 1536, std::array{1, 8, 64}, activations, false);
        check_linear(format, 33, 4096, std::array{1, 13}, activations, true);
    }
}

// Either activation rounding is allowed: to bf16 (relative 2^-8 at most, a whole step of truncation) or to int8 (half a code,
// and the scale's own rounding). Errors are at most their norm times the row's norm.
TEST_P(LinearConformance, AutomaticActivationsStayWithinTheirRounding) {
    const Format& format = *GetParam();
    const std::int64_t in = 512, out = 48;
    const int rows = 9;
    const KnownWeight weight = known_weight(format, out, in, 77);
    const std::vector<float> x = inputs_for(rows, in, 78);
    Expected expected = expected_product(x, weight, nullptr, Activations::f32);
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
        double squares = 0.0;
        for (std::size_t begin = 0; begin < static_cast<std::size_t>(in); begin += 32) {
            double largest = 0.0;
            for (std::size_t i = begin; i < begin + 32; ++i)
                largest = std::max(largest, std::abs(static_cast<double>(x[r * static_cast<std::size_t>(in) + i])));
            for (std::size_t i = begin; i < begin + 32; ++i) {
                const double value = std::abs(static_cast<double>(x[r * static_cast<std::size_t>(in) + i]));
                squares += std::pow(std::max(value / 256.0, 0.501 * largest / 127.0), 2);
            }
        }
        for (std::size_t o = 0; o < static_cast<std::size_t>(out); ++o)
            expected.tolerance[r * static_cast<std::size_t>(out) + o] += std::sqrt(squares) * weight.norm[o];
    }
    SameBits same_bits;
    for (TestedDevice& device : tested_devices()) {
        const auto prepared = device.backend->prepare(std::span(&weight.packed.weight, 1), Fuse::none, Activations::automatic);
        const Guarded device_x(device, rows, in, x), y(device, rows, out);
        device.backend->linear(rows, device_x.tensor(), {.weight = prepared.get(), .bias = {}}, y.tensor());
        const std::string what = fmt::format("{}: {} ({})", device.name, format.name, prepared->kernel);
        expect_close(y.values(), expected.values, expected.tolerance, what);
        same_bits.check(device, y.values(), what);
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, LinearConformance, ::testing::ValuesIn(all_formats()),
                         [](const auto& of) { return std::string(of.param->name); });

struct FusedCase {
    Fuse fuse;
    std::vector<std::string_view> formats;
    std::vector<std::int64_t> outs;
};

TEST(FusedLinearConformance, PartsComeInOrder) {
    const std::vector<FusedCase> cases = {
        {Fuse::rows, {"q4_0", "q4_0", "q4_0"}, {64, 32, 32}},
        {Fuse::rows, {"q4_1", "q4_1", "q6_k"}, {48, 16, 16}},
        {Fuse::rows, {"f16", "bf16", "f32"}, {17, 3, 5}},
        {Fuse::rows, {"q8_0", "f32", "q4_0"}, {1, 33, 15}},
        {Fuse::rows, {"bf16", "bf16"}, {40, 24}},
        {Fuse::rows, {"q4_1"}, {50}},
        {Fuse::interleaved, {"q4_0", "q4_0"}, {48, 48}},
        {Fuse::interleaved, {"q4_1", "q4_1"}, {35, 35}},
        {Fuse::interleaved, {"f16", "f16"}, {17, 17}},
        {Fuse::interleaved, {"q4_0", "q8_0"}, {33, 33}},
        {Fuse::interleaved, {"f32", "q6_k"}, {16, 16}},
        {Fuse::interleaved, {"q6_k", "q6_k"}, {1, 1}},
    };
    const std::int64_t in = 256;
    const int rows = 9;
    for (const FusedCase& c : cases)
        for (const Activations activations : {Activations::f32, Activations::int8, Activations::automatic}) {
            std::vector<KnownWeight> known;
            std::vector<PackedWeight> parts;
            std::int64_t out = 0;
            for (std::size_t p = 0; p < c.formats.size(); ++p) {
                const Format* format = find_format(c.formats[p]);
                ASSERT_NE(format, nullptr) << c.formats[p];
                known.push_back(known_weight(*format, c.outs[p], in, p + 40));
                parts.push_back(known.back().packed.weight);
                out += c.outs[p];
            }
            const std::vector<float> x = inputs_for(rows, in, 9), bias = random_values(static_cast<std::size_t>(out), 10);
            SameBits same_bits;
            for (TestedDevice& device : tested_devices()) {
                const auto prepared = device.backend->prepare(parts, c.fuse, activations);
                ASSERT_EQ(prepared->parts, c.outs);
                ASSERT_EQ(prepared->out, out);
                ASSERT_EQ(prepared->fuse, c.fuse);
                ASSERT_EQ(prepared->activations.size(), parts.size());
                Expected expected;
                std::vector<Expected> of_part;
                std::int64_t begin = 0;
                for (std::size_t p = 0; p < parts.size(); ++p) {
                    of_part.push_back(expected_product(x, known[p], bias.data() + begin, prepared->activations[p]));
                    begin += c.outs[p];
                }
                for (int r = 0; r < rows; ++r)
                    for (std::size_t p = 0; p < parts.size(); ++p) {
                        const auto values = of_part[p].values.begin() + r * c.outs[p];
                        const auto tolerance = of_part[p].tolerance.begin() + r * c.outs[p];
                        expected.values.insert(expected.values.end(), values, values + c.outs[p]);
                        expected.tolerance.insert(expected.tolerance.end(), tolerance, tolerance + c.outs[p]);
                    }
                const Guarded device_x(device, rows, in, x), device_bias(device, 1, out, bias), y(device, rows, out);
                device.backend->linear(rows, device_x.tensor(), {.weight = prepared.get(), .bias = device_bias.vector()},
                                       y.tensor());
                const std::string what = fmt::format("{}: {} ({})", device.name, fmt::join(c.formats, " "), prepared->kernel);
                expect_close(y.values(), expected.values, expected.tolerance, what);
                same_bits.check(device, y.values(), what);
                EXPECT_LE(prepared->bytes, device.backend->prepared_bytes(parts, c.fuse, activations)) << what;
            }
        }
}

// One request's broken numbers stay its own.
TEST(FusedLinearConformance, NumbersThatAreNotFiniteStayInTheirRow) {
    const std::int64_t in = 256, out = 20;
    for (const char* name : {"f32", "f16", "bf16", "q4_0", "q4_1", "q8_0", "q6_k"})
        for (const Activations activations : {Activations::f32, Activations::int8})
            for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
                const KnownWeight weight = known_weight(*find_format(name), out, in, 3);
                const std::vector<float> good = random_values(static_cast<std::size_t>(5 * in), 4);
                std::vector<float> x = good;
                x[static_cast<std::size_t>(2 * in + 77)] = bad;
                for (TestedDevice& device : tested_devices()) {
                    const auto prepared = device.backend->prepare(std::span(&weight.packed.weight, 1), Fuse::none, activations);
                    const Linear linear{.weight = prepared.get(), .bias = {}};
                    const Guarded good_x(device, 5, in, good), bad_x(device, 5, in, x), good_y(device, 5, out),
                        bad_y(device, 5, out);
                    device.backend->linear(5, good_x.tensor(), linear, good_y.tensor());
                    device.backend->linear(5, bad_x.tensor(), linear, bad_y.tensor());
                    const std::vector<float> expected = good_y.values(), found = bad_y.values();
                    for (std::size_t i = 0; i < found.size(); ++i) {
                        if (i / static_cast<std::size_t>(out) == 2)
                            EXPECT_FALSE(std::isfinite(found[i])) << device.name << ": " << name << ", output " << i;
                        else
                            EXPECT_EQ(found[i], expected[i]) << device.name << ": " << name << ", output " << i;
                    }
                }
            }
}

}  // namespace
}  // namespace narae::test
