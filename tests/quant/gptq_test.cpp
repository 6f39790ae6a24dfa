// GPTQ against AutoGPTQ's algorithm, run in float64 (tools/oracle/gptq.py), and against its own promise: smaller errors of
// outputs than rounding to the nearest.
#include "quant/gptq.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/code_stream.h"
#include "formats/scales.h"
#include "quant/dense.h"
#include "quant/made_up.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace narae::test {
namespace {

std::vector<double> gram_of(const std::vector<float>& x, std::int64_t columns, ThreadPool& threads) {
    Gram gram(columns);
    gram.add(x, threads);
    return gram.take(threads);
}

TEST(Gptq, ChoosesTheOriginalsCodes) {
    const Json goldens = parse_json(read_text_file(data_file("goldens/gptq.json")), "gptq.json");
    std::uint64_t number = 0;
    for (const Json& c : goldens.at("cases")) {
        SCOPED_TRACE(number);
        const auto out = c.at("out").get<std::int64_t>(), in = c.at("columns").get<std::int64_t>();
        GptqOptions options;
        options.rounding = {.rule = IntRule::gptq, .bits = c.at("bits"), .symmetric = c.at("symmetric")};
        options.group = c.at("group").get<int>() < 0 ? 0 : c.at("group").get<std::int64_t>();
        options.scales = DType::f32;
        options.damping = c.at("damping");
        options.act_order = c.at("act_order");
        options.static_groups = c.at("static_groups");
        for (const int threads : {1, 3}) {
            ThreadPool pool(threads);
            const GptqWeight found =
                gptq(options, numbers(number + 1, out * in), out, in,
                     exact_gram(inputs(number + 100, 300, in, c.at("dead").get<std::int64_t>()), in), "w", pool);
            const PackedWeight& weight = found.weight.weight;
            validate(weight);
            EXPECT_EQ(found.damping, options.damping);
            EXPECT_EQ(found.dead, c.at("dead").get<int>() >= 0 ? 1 : 0);

            const std::string hex = c.at("codes").get<std::string>();
            const auto row_bytes =
                static_cast<std::int64_t>(code_stream_bytes(static_cast<std::uint64_t>(in), options.rounding.bits));
            int different = 0;
            for (std::int64_t row = 0; row < out; ++row)
                for (std::int64_t j = 0; j < in; ++j) {
                    const int expected = std::stoi(hex.substr(static_cast<std::size_t>(2 * (row * in + j)), 2), nullptr, 16);
                    different += load_code(weight.codes().data() + row * row_bytes, j, options.rounding.bits) != expected;
                }
            EXPECT_EQ(different, 0) << "of " << out * in;
            const auto scales = c.at("scales").get<std::vector<double>>();
            const auto zeros = c.at("zeros").get<std::vector<int>>();
            for (std::size_t i = 0; i < scales.size(); ++i) {
                EXPECT_NEAR(load_number(weight.bytes_of(BufferRole::scales), DType::f32, static_cast<std::int64_t>(i)),
                            scales[i], 1e-6 * scales[i]);
                if (!options.rounding.symmetric) {
                    EXPECT_EQ(std::to_integer<int>(weight.bytes_of(BufferRole::zeros)[i]), zeros[i]);
                }
            }
            const auto index = c.at("group_index").get<std::vector<std::int32_t>>();
            for (std::int64_t j = 0; j < in; ++j) {
                std::int32_t group = static_cast<std::int32_t>(options.group > 0 ? j / options.group : 0);
                if (weight.has(BufferRole::group_index))
                    std::memcpy(&group, weight.bytes_of(BufferRole::group_index).data() + j * 4, 4);
                EXPECT_EQ(group, index[static_cast<std::size_t>(j)]) << j;
            }
        }
        ++number;
    }
    EXPECT_EQ(number, 10u);
}

// The square error of outputs.
double error_of(const PackedWeight& weight, std::vector<float> values, const std::vector<double>& gram, ThreadPool& threads) {
    const std::vector<float> after = unpack_all(weight);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = after[i] - values[i];
    return output_square(values, weight.in, gram, threads);
}

TEST(Gptq, ErrsLessThanRoundingToTheNearest) {
    ThreadPool threads(2);
    constexpr std::int64_t kOut = 40, kIn = 256;
    const std::vector<float> values = numbers(5, kOut * kIn);
    const std::vector<double> gram = gram_of(inputs(6, 1000, kIn, -1), kIn, threads);
    for (const int bits : {2, 3, 4, 8}) {
        GptqOptions options;
        options.rounding = {.rule = IntRule::gptq, .bits = bits};
        options.group = 64;
        const OwnedWeight rounded =
            make_weight(int_format(bits), kOut, kIn, {.rows = 1, .columns = options.group, .dtype = options.scales},
                        std::array{BufferRole::zeros}, "w");
        pack_int_groups(options.rounding, values.data(), rounded);
        const double nearest = error_of(rounded.weight, values, gram, threads);
        const GptqWeight plain = gptq(options, values, kOut, kIn, gram, "w", threads);
        options.act_order = true;
        const GptqWeight ordered = gptq(options, values, kOut, kIn, gram, "w", threads);
        for (const GptqWeight* found : {&plain, &ordered}) {
            const double error = error_of(found->weight.weight, values, gram, threads);
            EXPECT_LT(error, nearest) << bits;
            EXPECT_GT(error, 0.0);
        }
    }
}

TEST(Gptq, RaisesTheDampingWhereInputsAreTooFew) {
    ThreadPool threads(1);
    constexpr std::int64_t kOut = 8, kIn = 128;
    GptqOptions options;
    options.rounding = {.rule = IntRule::gptq, .bits = 4};
    options.group = 64;
    options.damping = 0.0;
    const GptqWeight found =
        gptq(options, numbers(1, kOut * kIn), kOut, kIn, gram_of(inputs(2, 5, kIn, -1), kIn, threads), "w", threads);
    EXPECT_GT(found.damping, 0.0);
    for (const float value : unpack_all(found.weight.weight)) EXPECT_TRUE(std::isfinite(value));
}

TEST(Gptq, RefusesWhatIsNotFinite) {
    ThreadPool threads(1);
    GptqOptions options;
    options.group = 64;
    std::vector<float> values = numbers(1, 64);
    const std::vector<double> gram = gram_of(inputs(2, 100, 64, -1), 64, threads);
    values[3] = std::nanf("");
    EXPECT_THROW(gptq(options, values, 1, 64, gram, "w", threads), BadFileError);
    std::vector<double> broken = gram;
    broken[5] = broken[5 * 64] = std::nan("");
    EXPECT_THROW(gptq(options, numbers(1, 64), 1, 64, broken, "w", threads), BadFileError);
}

TEST(Dense, TheGramMatrixIsTheSumOfOuterProducts) {
    for (const int team : {1, 3})
        for (const std::int64_t columns : {1, 63, 64, 130}) {
            ThreadPool threads(team);
            const std::vector<float> x = inputs(9, 777, columns, -1);
            Gram gram(columns);
            gram.add(std::span(x).first(static_cast<std::size_t>(300 * columns)), threads);
            gram.add(std::span(x).subspan(static_cast<std::size_t>(300 * columns)), threads);
            EXPECT_EQ(gram.rows(), 777);
            const std::vector<double> found = gram.take(threads), expected = exact_gram(x, columns);
            for (std::int64_t i = 0; i < columns; ++i)
                for (std::int64_t j = 0; j < columns; ++j) {
                    const auto at = [&](std::int64_t r, std::int64_t c) { return static_cast<std::size_t>(r * columns + c); };
                    // 256 rows are added in float32.
                    const double size = std::sqrt(expected[at(i, i)] * expected[at(j, j)]);
                    EXPECT_NEAR(found[at(i, j)], expected[at(i, j)], 256 * 0x1p-24 * size);
                    EXPECT_EQ(found[at(i, j)], found[at(j, i)]);
                }
        }
}

TEST(Dense, TheSquareOfOutputsIsThatOfTheProduct) {
    ThreadPool threads(2);
    constexpr std::int64_t kIn = 37, kRows = 19, kInputs = 50;
    const std::vector<float> x = inputs(4, kInputs, kIn, -1), d = numbers(8, kRows * kIn);
    double expected = 0.0;
    for (std::int64_t i = 0; i < kInputs; ++i)
        for (std::int64_t row = 0; row < kRows; ++row) {
            double y = 0.0;
            for (std::int64_t j = 0; j < kIn; ++j)
                y += static_cast<double>(x[static_cast<std::size_t>(i * kIn + j)]) *
                     static_cast<double>(d[static_cast<std::size_t>(row * kIn + j)]);
            expected += y * y;
        }
    EXPECT_NEAR(output_square(d, kIn, exact_gram(x, kIn), threads), expected, 1e-10 * expected);
}

TEST(Dense, TheFactorIsTheInverses) {
    for (const std::int64_t n : {1, 5, 64, 65, 300}) {
        ThreadPool threads(2);
        std::vector<double> matrix = exact_gram(inputs(3, 2 * n + 5, n, -1), n);
        for (std::int64_t i = 0; i < n; ++i) matrix[static_cast<std::size_t>(i * n + i)] += 0.1;
        std::vector<double> u = matrix;
        ASSERT_TRUE(inverse_cholesky(u, n, threads));
        // U^T U H = 1
        const auto at = [&](std::int64_t i, std::int64_t j) { return static_cast<std::size_t>(i * n + j); };
        for (std::int64_t i = 0; i < n; ++i) {
            EXPECT_GT(u[at(i, i)], 0.0);
            for (std::int64_t j = 0; j < i; ++j) EXPECT_EQ(u[at(i, j)], 0.0);
        }
        std::vector<double> product(u.size());
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t k = 0; k < n; ++k)
                for (std::int64_t j = 0; j < n; ++j) product[at(i, j)] += u[at(i, k)] * matrix[at(k, j)];
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                double sum = 0.0;
                for (std::int64_t k = 0; k <= i; ++k) sum += u[at(k, i)] * product[at(k, j)];
                EXPECT_NEAR(sum, i == j ? 1.0 : 0.0, 1e-8);
            }
    }
    ThreadPool threads(1);
    std::vector<double> indefinite = {1.0, 2.0, 2.0, 1.0};
    EXPECT_FALSE(inverse_cholesky(indefinite, 2, threads));
}

}  // namespace
}  // namespace narae::test
