#include "quant/gptq.h"

#include "base/error.h"
#include "formats/code_stream.h"
#include "formats/scales.h"
#include "quant/dense.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace narae {
namespace {

constexpr std::int64_t kBlock = 128;  // columns whose corrections of later columns are made together

// Where columns stand: column order[j] is the j-th to be rounded.
std::vector<std::int64_t> order_of(const std::vector<double>& gram, std::int64_t in, bool act_order) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(in));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    if (act_order)
        std::ranges::stable_sort(order, [&](std::int64_t a, std::int64_t b) {
            return gram[static_cast<std::size_t>(a * in + a)] > gram[static_cast<std::size_t>(b * in + b)];
        });
    return order;
}

// U of the Hessian in the order of rounding, damped as much as it needs.
std::vector<double> factor(const std::vector<double>& gram, const std::vector<std::int64_t>& order, double& damping,
                           const std::string& name, ThreadPool& threads) {
    const auto n = static_cast<std::int64_t>(order.size());
    double mean = 0.0;
    for (std::int64_t i = 0; i < n; ++i) mean += gram[static_cast<std::size_t>(i * n + i)];
    mean /= static_cast<double>(n);
    std::vector<double> matrix(gram.size());
    for (int attempt = 0; attempt < 8; ++attempt, damping = std::max(damping, 1e-8) * 10.0) {
        threads.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                for (std::int64_t j = 0; j < n; ++j)
                    matrix[static_cast<std::size_t>(i * n + j)] = gram[static_cast<std::size_t>(
                        order[static_cast<std::size_t>(i)] * n + order[static_cast<std::size_t>(j)])];
            for (std::int64_t i = begin; i < end; ++i) matrix[static_cast<std::size_t>(i * n + i)] += damping * mean;
        });
        if (inverse_cholesky(matrix, n, threads)) return matrix;
    }
    throw_error<BadFileError>("{}: the calibration's inputs are not finite or have no numbers that can be inverted", name);
}

}  // namespace

GptqWeight gptq(const GptqOptions& o, std::vector<float> values, std::int64_t out, std::int64_t in, std::vector<double> gram,
                std::string name, ThreadPool& threads) {
    const std::int64_t group = o.group > 0 ? std::min(o.group, in) : in, groups = in / group;
    NARAE_CHECK(static_cast<std::int64_t>(values.size()) == out * in && static_cast<std::int64_t>(gram.size()) == in * in,
                "{}: {} values and {} of the Gram matrix for [{}, {}]", name, values.size(), gram.size(), out, in);
    NARAE_CHECK(in % group == 0, "{}: {} columns in groups of {}", name, in, group);
    for (const float value : values)
        if (!std::isfinite(value)) throw_error<BadFileError>("{}: holds a value that is not finite", name);

    GptqWeight result;
    std::vector<GroupParameters> parameters(static_cast<std::size_t>(out * groups));
    if (o.group <= 0)  // of the weight as it came
        for (std::int64_t row = 0; row < out; ++row)
            parameters[static_cast<std::size_t>(row)] =
                find_parameters(o.rounding, {values.data() + row * in, static_cast<std::size_t>(in)});
    for (std::int64_t i = 0; i < in; ++i) {
        if (gram[static_cast<std::size_t>(i * in + i)] != 0.0) continue;
        gram[static_cast<std::size_t>(i * in + i)] = 1.0;
        for (std::int64_t row = 0; row < out; ++row) values[static_cast<std::size_t>(row * in + i)] = 0.0f;
        ++result.dead;
    }
    const std::vector<std::int64_t> order = order_of(gram, in, o.act_order);
    result.damping = o.damping;
    const std::vector<double> u = factor(gram, order, result.damping, name, threads);

    // The group of the j-th column to be rounded.
    const bool by_place = o.act_order && o.static_groups;
    const auto group_of = [&](std::int64_t j) { return (by_place ? order[static_cast<std::size_t>(j)] : j) / group; };
    std::vector<std::uint8_t> codes(values.size());

    threads.parallel_for(out, 1, [&](std::int64_t first_row, std::int64_t last_row) {
        std::vector<double> w(static_cast<std::size_t>(in)), later(static_cast<std::size_t>(kBlock));
        const auto part_of_row = [&](std::int64_t begin, std::int64_t end) {
            return std::span(w).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
        };
        std::vector<float> of_group(static_cast<std::size_t>(group));
        for (std::int64_t row = first_row; row < last_row; ++row) {
            const float* original = values.data() + row * in;
            GroupParameters* of_row = parameters.data() + row * groups;
            for (std::int64_t j = 0; j < in; ++j)
                w[static_cast<std::size_t>(j)] = static_cast<double>(original[order[static_cast<std::size_t>(j)]]);
            const bool as_they_come = o.group > 0 && !o.static_groups;
            if (o.group > 0 && o.static_groups)
                for (std::int64_t g = 0; g < groups; ++g)
                    of_row[g] = find_parameters(o.rounding, {original + g * group, static_cast<std::size_t>(group)});
            for (std::int64_t begin = 0; begin < in; begin += kBlock) {
                const std::int64_t end = std::min(in, begin + kBlock);
                // The original keeps a copy of the block to correct; parameters are found in what the block was before.
                std::vector<double> before;
                if (as_they_come) before.assign(w.begin() + begin, w.end());
                for (std::int64_t j = begin; j < end; ++j) {
                    if (as_they_come && j % group == 0) {
                        for (std::int64_t c = 0; c < group; ++c)
                            of_group[static_cast<std::size_t>(c)] =
                                static_cast<float>(before[static_cast<std::size_t>(j - begin + c)]);
                        of_row[j / group] = find_parameters(o.rounding, of_group);
                    }
                    const GroupParameters& p = of_row[group_of(j)];
                    const double value = w[static_cast<std::size_t>(j)];
                    const int code = code_of(o.rounding, p, static_cast<float>(value));
                    const float rounded = p.scale * (static_cast<float>(code) - p.zero);
                    const double* factors = u.data() + j * in;
                    const double error = (value - static_cast<double>(rounded)) / factors[j];
                    codes[static_cast<std::size_t>(row * in + order[static_cast<std::size_t>(j)])] =
                        static_cast<std::uint8_t>(code);
                    subtract_product({&error, 1}, factors + j, in, part_of_row(j, end));
                    later[static_cast<std::size_t>(j - begin)] = error;
                }
                subtract_product(std::span(later).first(static_cast<std::size_t>(end - begin)), u.data() + begin * in + end, in,
                                 part_of_row(end, in));
            }
        }
    });

    std::vector<BufferRole> optional;
    if (!o.rounding.symmetric) optional.push_back(BufferRole::zeros);
    const bool scattered = o.act_order && !o.static_groups && groups > 1;
    if (scattered) optional.push_back(BufferRole::group_index);
    const Scaling scaling{.rows = 1, .columns = group == in && o.group <= 0 ? kWhole : group, .dtype = o.scales};
    result.weight = make_weight(int_format(o.rounding.bits), out, in, scaling, optional, name);
    const OwnedWeight& made = result.weight;
    const std::int64_t row_bytes =
        static_cast<std::int64_t>(code_stream_bytes(static_cast<std::uint64_t>(in), o.rounding.bits));
    for (std::int64_t row = 0; row < out; ++row) {
        std::byte* to = made.bytes_of(BufferRole::codes).data() + row * row_bytes;
        for (std::int64_t j = 0; j < in; ++j) store_code(to, j, o.rounding.bits, codes[static_cast<std::size_t>(row * in + j)]);
        for (std::int64_t g = 0; g < groups; ++g) {
            const GroupParameters& p = parameters[static_cast<std::size_t>(row * groups + g)];
            store_number(made.bytes_of(BufferRole::scales), o.scales, row * groups + g, p.scale);
            if (!o.rounding.symmetric)
                made.bytes_of(BufferRole::zeros)[static_cast<std::size_t>(row * groups + g)] =
                    static_cast<std::byte>(static_cast<int>(p.zero));
        }
    }
    if (scattered)
        for (std::int64_t j = 0; j < in; ++j) {
            const auto index = static_cast<std::int32_t>(j / group);
            std::memcpy(made.bytes_of(BufferRole::group_index).data() + order[static_cast<std::size_t>(j)] * 4, &index, 4);
        }

    return result;
}

}  // namespace narae
