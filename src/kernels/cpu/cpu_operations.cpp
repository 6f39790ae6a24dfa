// The operations of the CPU backend: products with their norms and endings, attention, and the small ones.
#include "base/error.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/kv_storage.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/weight.h"

#include <algorithm>
#include <cmath>

namespace narae::kernels::cpu {
namespace {

std::int64_t columns_of(const Tensor& tensor) { return tensor.shape[tensor.shape.rank() - 1]; }
float* row_of(const Tensor& tensor, std::int64_t row) { return tensor.as<float>() + row * columns_of(tensor); }
std::size_t padded(std::int64_t bytes) { return static_cast<std::size_t>(ceil_div(bytes, 64) * 64); }

NormTask norm_task(const Norm& norm) {
    NormTask task;
    task.rule = norm.kind == NormKind::none ? NormRule::none : norm.kind == NormKind::rms ? NormRule::rms : NormRule::layer;
    task.eps = norm.eps;
    task.weight = norm.weight.as<float>();
    task.bias = norm.bias.as<float>();
    return task;
}

NormTask norm_task(const Norm* norm) { return norm ? norm_task(*norm) : NormTask{}; }

Curve curve_of(Activation activation) {
    switch (activation) {
        case Activation::silu:
            return Curve::silu;
        case Activation::gelu_erf:
            return Curve::gelu_erf;
        case Activation::gelu_tanh:
            return Curve::gelu_tanh;
        case Activation::quick_gelu:
            return Curve::quick_gelu;
        case Activation::relu:
            break;
    }
    return Curve::relu;
}

}  // namespace

void CpuBackend::over_rows(int rows, std::int64_t floats_of_row, FunctionRef<void(int, int)> work) {
    constexpr std::int64_t kWorthSharing = 8192;
    if (rows * floats_of_row < kWorthSharing) return work(0, rows);
    threads_.parallel_for(rows, 1,
                          [&](std::int64_t begin, std::int64_t end) { work(static_cast<int>(begin), static_cast<int>(end)); });
}

void CpuBackend::product(int rows, const float* x, const std::int32_t* index, const NormTask& norm, const Linear& linear,
                         OutputTask output) {
    if (rows == 0) return;
    const CpuWeight& weight = cpu_weight(*linear.weight);
    NARAE_CHECK(!weight.strips.empty() || weight.out == 0, "a product with a table that is only looked up");
    if (linear.bias.data) {
        std::int64_t begin = 0;
        for (std::size_t p = 0; p < weight.parts.size(); ++p) {
            output.bias[p] = linear.bias.as<float>() + begin;
            begin += weight.parts[p];
        }
    }
    InputTask input;
    input.x = x;
    input.in = weight.in;
    input.rows = rows;
    input.index = index;
    input.norm = norm;
    std::copy_n(weight.wanted, kForms, input.wanted);

    const int threads = threads_.threads();
    const bool private_forms = rows <= kPrivateRows;
    const auto forms_at = [&](std::byte* memory, ProductTask& task, std::byte** forms) {
        for (int form = 0; form < kForms; ++form) {
            forms[form] = weight.wanted[form] ? memory : nullptr;
            task.forms[form] = forms[form];
            if (weight.wanted[form]) memory += padded(form_bytes(form, weight.in, rows));
        }
        return memory;
    };
    const auto strips = static_cast<std::int64_t>(weight.strips.size());
    const std::int64_t strip_bytes =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(weight.bytes) / std::max<std::int64_t>(1, strips));
    const std::size_t row_bytes = padded(weight.in * 4), scratch_bytes = product_bytes(weight.in, rows);
    ProductTask shared;
    shared.strips = weight.strips.data();
    shared.in = weight.in;
    shared.rows = rows;
    shared.output = output;

    if (private_forms) {
        divide_strips(strips, std::max<std::int64_t>(1, kPieceBytes / strip_bytes));
        threads_.share([&](int t) {
            Claim claim;
            if (!claim_strips(t, claim)) return;
            std::byte* scratch = thread_scratch(t, scratch_bytes);
            ProductTask task = shared;
            std::byte* forms[kForms];
            std::byte* rest = forms_at(scratch + row_bytes, task, forms);
            kernels_.prepare_inputs(input, 0, rows, forms, reinterpret_cast<float*>(scratch));
            do kernels_.product(task, claim.begin, claim.end, rest);
            while (claim_strips(t, claim));
        });
        return;
    }

    std::size_t bytes = 0;
    for (int form = 0; form < kForms; ++form)
        if (weight.wanted[form]) bytes += padded(form_bytes(form, weight.in, rows));
    std::byte* forms[kForms];
    forms_at(forms_.get(bytes), shared, forms);
    // By whole tiles: rows of a tile share cache lines.
    const Tiles tiles = Tiles::of(rows, weight.wanted[kFloatForm] ? kernels_.float_tokens : kernels_.int_tokens);
    std::atomic<int> next_tile{0};
    threads_.share([&](int t) {
        auto* row = reinterpret_cast<float*>(thread_scratch(t, scratch_bytes));
        for (int tile = 0; (tile = next_tile.fetch_add(1, std::memory_order_relaxed)) < tiles.count;)
            kernels_.prepare_inputs(input, tiles.start(tile), tiles.start(tile + 1), forms, row);
    });
    const std::int64_t piece = std::max<std::int64_t>(1, strips / (8 * threads));
    std::atomic<std::int64_t> next{0};
    threads_.share([&](int t) {
        std::byte* scratch = thread_scratch(t, scratch_bytes);
        for (std::int64_t begin = 0; (begin = next.fetch_add(piece, std::memory_order_relaxed)) < strips;)
            kernels_.product(shared, begin, std::min(strips, begin + piece), scratch);
    });
}

void CpuBackend::divide_strips(std::int64_t strips, std::int64_t piece) {
    const auto threads = static_cast<std::int64_t>(stretches_.size());
    for (std::int64_t t = 0; t < threads; ++t) {
        Stretch& stretch = stretches_[static_cast<std::size_t>(t)];
        stretch.next.store(strips * t / threads, std::memory_order_relaxed);
        stretch.end = strips * (t + 1) / threads;
        stretch.piece = piece;
    }
}

bool CpuBackend::claim_strips(int thread, Claim& claim) {
    const std::size_t threads = stretches_.size();
    for (std::size_t i = 0; i < threads; ++i) {
        Stretch& stretch = stretches_[(static_cast<std::size_t>(thread) + i) % threads];
        claim.begin = stretch.next.fetch_add(stretch.piece, std::memory_order_relaxed);
        claim.end = std::min(stretch.end, claim.begin + stretch.piece);
        if (claim.begin < stretch.end) return true;
    }
    return false;
}

void CpuBackend::linear(int rows, const Tensor& x, const Linear& linear, const Tensor& y) {
    if (rows == 0) return;  // no rows have no memory
    const DeviceWeight& weight = *linear.weight;
    OutputTask output;
    std::int64_t begin = 0;
    for (std::size_t p = 0; p < weight.parts.size(); ++p) {
        output.out[p] = y.as<float>() + begin;
        output.stride[p] = weight.out;
        begin += weight.parts[p];
    }
    product(rows, x.as<float>(), nullptr, NormTask{}, linear, output);
}

void CpuBackend::qkv(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, const Norm* q_norm,
                     const Norm* k_norm, const Rope& rope, const Tensor& rope_table, const KvLayer& kv, const Tensor& q,
                     const Observer* observer) {
    const KvGroup& group = kv.storage->group();
    const std::int64_t q_columns = columns_of(q), kv_columns = std::int64_t{group.kv_heads} * group.head_dim;
    const std::vector<std::int64_t>& parts = linear.weight->parts;
    const bool three = parts.size() == 3 && parts[0] == q_columns && parts[1] == kv_columns && parts[2] == kv_columns;
    if (observer || !three) return Backend::qkv(batch, x, norm, linear, q_norm, k_norm, rope, rope_table, kv, q, observer);
    NARAE_CHECK(columns_of(x) == linear.weight->in, "qkv: x has {} columns, the weight's in is {}", columns_of(x),
                linear.weight->in);
    const int rows = batch.rows;
    const auto bytes = static_cast<std::size_t>(rows * kv_columns * 4);
    const Tensor k = make_tensor(keys_.get(bytes), DType::f32, {rows, kv_columns});
    const Tensor v = make_tensor(values_.get(bytes), DType::f32, {rows, kv_columns});
    OutputTask output;
    const Tensor* out[3] = {&q, &k, &v};
    for (int p = 0; p < 3; ++p) {
        output.out[p] = out[p]->as<float>();
        output.stride[p] = columns_of(*out[p]);
    }
    product(rows, x.as<float>(), nullptr, norm_task(norm), linear, output);

    CpuKvStorage& storage = cpu_storage(*kv.storage);
    const NormTask q_task = norm_task(q_norm), k_task = norm_task(k_norm);
    over_rows(rows, q_columns + 2 * kv_columns, [&](int begin, int end) {
        for (int r = begin; r < end; ++r) {
            const float* table = rope_table.as<float>() + std::int64_t{r} * rope.rotary_dim;
            kernels_.norm_rotate(row_of(q, r), static_cast<int>(q_columns / group.head_dim), group.head_dim, q_task,
                                 rope.rotary_dim, rope.interleaved, table);
            kernels_.norm_rotate(row_of(k, r), group.kv_heads, group.head_dim, k_task, rope.rotary_dim, rope.interleaved,
                                 table);
            append_row(batch, r, k, v, kv, storage);
        }
    });
}

void CpuBackend::append_row(const Batch& batch, int row, const Tensor& k, const Tensor& v, const KvLayer& kv,
                            const CpuKvStorage& storage) {
    const KvGroup& group = storage.group();
    const auto r = static_cast<std::size_t>(row);
    const std::int32_t position = batch.positions[r];
    const auto entry = static_cast<std::size_t>(batch.row_sequence[r]) * static_cast<std::size_t>(batch.table_stride) +
                       static_cast<std::size_t>(position / kBlockTokens);
    std::byte* block = storage.block(batch.block_tables[static_cast<std::size_t>(kv.group)][entry]);
    kernels_.append(static_cast<int>(group.type), group.kv_heads, group.head_dim, position % kBlockTokens, row_of(k, row),
                    row_of(v, row), block + storage.keys_offset(kv.layer), block + storage.values_offset(kv.layer));
}

void CpuBackend::append_kv(const Batch& batch, const Tensor& k, const Tensor& v, const KvLayer& kv) {
    const CpuKvStorage& storage = cpu_storage(*kv.storage);
    over_rows(batch.rows, 2 * columns_of(k), [&](int begin, int end) {
        for (int r = begin; r < end; ++r) append_row(batch, r, k, v, kv, storage);
    });
}

void CpuBackend::attention(const Batch& batch, const Tensor& q, const AttentionParameters& parameters, const KvLayer& kv,
                           const Tensor& out) {
    const CpuKvStorage& storage = cpu_storage(*kv.storage);
    const KvGroup& group = storage.group();
    NARAE_CHECK(parameters.heads > 0 && parameters.heads % group.kv_heads == 0, "{} heads over {} kv heads", parameters.heads,
                group.kv_heads);
    AttentionTask task;
    task.pieces = storage.pieces();
    task.piece_shift = storage.piece_shift();
    task.block_bytes = group.block_bytes();
    task.keys_offset = storage.keys_offset(kv.layer);
    task.values_offset = storage.values_offset(kv.layer);
    task.element = static_cast<int>(group.type);
    task.heads = parameters.heads;
    task.kv_heads = group.kv_heads;
    task.head_dim = group.head_dim;
    task.window = group.window;
    task.scale = parameters.scale;
    task.soft_cap = parameters.soft_cap;
    task.alibi_slopes = parameters.alibi_slopes.as<float>();
    task.sinks = parameters.sinks.as<float>();
    task.q = q.as<float>();
    task.out = out.as<float>();

    const int share = parameters.heads / group.kv_heads, rows_of_item = std::max(1, kLinesOfItem / share);
    const std::span<const std::int32_t> table = batch.block_tables[static_cast<std::size_t>(kv.group)];
    items_.clear();
    for (int s = 0; s < batch.sequences; ++s) {
        const int begin = batch.row_begin[static_cast<std::size_t>(s)], end = batch.row_begin[static_cast<std::size_t>(s) + 1];
        // The last rows see the most: they go first, so that threads finish together.
        for (int tile = static_cast<int>(ceil_div(end - begin, rows_of_item)) - 1; tile >= 0; --tile) {
            const int first = begin + tile * rows_of_item;
            for (int h = 0; h < group.kv_heads; ++h)
                items_.push_back({.kv_head = h,
                                  .first_row = first,
                                  .rows = std::min(rows_of_item, end - first),
                                  .position = batch.positions[static_cast<std::size_t>(first)],
                                  .blocks = table.data() + static_cast<std::ptrdiff_t>(s) * batch.table_stride});
        }
    }
    const auto bytes = padded(kernels_.attention_scratch_bytes(rows_of_item * share, group.head_dim));
    std::atomic<std::size_t> next{0};
    threads_.share([&](int t) {
        std::byte* scratch = thread_scratch(t, bytes);
        for (std::size_t i = 0; (i = next.fetch_add(1, std::memory_order_relaxed)) < items_.size();)
            kernels_.attend(task, items_[i], scratch);
    });
}

void CpuBackend::project_add(int rows, const Tensor& x, const Linear& linear, const Norm* post_norm, float scale,
                             const Tensor& residual, const Observer* observer) {
    if (observer || (post_norm && post_norm->kind != NormKind::none) || linear.weight->parts.size() != 1)
        return Backend::project_add(rows, x, linear, post_norm, scale, residual, observer);
    NARAE_CHECK(columns_of(x) == linear.weight->in && columns_of(residual) == linear.weight->out,
                "project_add: x has {} columns, the residual {}, the weight is [{}, {}]", columns_of(x), columns_of(residual),
                linear.weight->out, linear.weight->in);
    OutputTask output;
    output.ending = Ending::add;
    output.out[0] = residual.as<float>();
    output.stride[0] = columns_of(residual);
    output.scale = scale;
    product(rows, x.as<float>(), nullptr, NormTask{}, linear, output);
}

void CpuBackend::gate_up(int rows, const Tensor& x, const Norm& norm, const Linear& linear, Activation activation,
                         const Tensor& y, const Observer* observer) {
    const bool gated = cpu_weight(*linear.weight).by_turns;
    if (observer || (!gated && linear.weight->fuse != Fuse::none))
        return Backend::gate_up(rows, x, norm, linear, activation, y, observer);
    NARAE_CHECK(columns_of(x) == linear.weight->in && columns_of(y) == linear.weight->parts[0],
                "gate_up: x has {} columns, y {}, the weight is [{}, {}]", columns_of(x), columns_of(y), linear.weight->out,
                linear.weight->in);
    OutputTask output;
    output.ending = gated ? Ending::gated : Ending::curve;
    output.out[0] = y.as<float>();
    output.stride[0] = columns_of(y);
    output.curve = curve_of(activation);
    product(rows, x.as<float>(), nullptr, norm_task(norm), linear, output);
}

void CpuBackend::logits(const Batch& batch, const Tensor& x, const Norm& norm, const Linear& linear, float scale,
                        float soft_cap, const Tensor& logits, const Observer* observer) {
    const auto rows = static_cast<int>(batch.logit_rows.size());
    const std::int32_t* index = batch.logit_rows.data();
    NARAE_CHECK(columns_of(x) == linear.weight->in && columns_of(logits) == linear.weight->out,
                "logits: x has {} columns, the logits {}, the weight is [{}, {}]", columns_of(x), columns_of(logits),
                linear.weight->out, linear.weight->in);
    if (observer) {
        const Tensor input = scratch(0, rows, columns_of(x));
        for (int i = 0; i < rows; ++i) kernels_.norm(norm_task(norm), columns_of(x), row_of(x, index[i]), row_of(input, i));
        (*observer)(linear, input);
    }
    OutputTask output;
    output.ending = Ending::logits;
    output.out[0] = logits.as<float>();
    output.stride[0] = columns_of(logits);
    output.scale = scale;
    output.soft_cap = soft_cap;
    product(rows, x.as<float>(), index, norm_task(norm), linear, output);
}

void CpuBackend::embed(const Batch& batch, const DeviceWeight& table, float scale, const DeviceWeight* positions_table,
                       int position_offset, const Tensor& x) {
    const CpuWeight& tokens = cpu_weight(table);
    const std::int64_t hidden = tokens.in;
    for (int r = 0; r < batch.rows; ++r) {
        const std::int32_t id = batch.ids[static_cast<std::size_t>(r)];
        NARAE_CHECK((id < 0 ? slot(-1 - id) : id) < tokens.out, "token {} of {}", id, tokens.out);
    }
    over_rows(batch.rows, hidden * 4, [&](int begin, int end) {
        std::vector<float> values(static_cast<std::size_t>(positions_table ? hidden : 0));
        for (int r = begin; r < end; ++r) {
            const std::int32_t id = batch.ids[static_cast<std::size_t>(r)];
            float* to = row_of(x, r);
            tokens.row(id < 0 ? slots_[static_cast<std::size_t>(-1 - id)] : id, to);
            if (scale != 1.0f)
                for (std::int64_t i = 0; i < hidden; ++i) to[i] *= scale;
            if (!positions_table) continue;
            const std::int64_t position = batch.positions[static_cast<std::size_t>(r)] + std::int64_t{position_offset};
            NARAE_CHECK(position >= 0 && position < positions_table->out && positions_table->in == hidden, "position {} of {}",
                        position, positions_table->out);
            cpu_weight(*positions_table).row(position, values.data());
            for (std::int64_t i = 0; i < hidden; ++i) to[i] += values[static_cast<std::size_t>(i)];
        }
    });
}

void CpuBackend::rope_table(const Batch& batch, std::span<const float> inv_freq, float scaling, const Tensor& table) {
    const std::size_t half = inv_freq.size();
    over_rows(batch.rows, static_cast<std::int64_t>(half) * 32, [&](int begin, int end) {
        for (int r = begin; r < end; ++r) {
            const auto position = static_cast<float>(batch.positions[static_cast<std::size_t>(r)]);
            float* to = table.as<float>() + static_cast<std::size_t>(r) * 2 * half;
            for (std::size_t i = 0; i < half; ++i) {
                const double angle = static_cast<double>(position * inv_freq[i]);
                to[i] = static_cast<float>(std::cos(angle) * static_cast<double>(scaling));
                to[half + i] = static_cast<float>(std::sin(angle) * static_cast<double>(scaling));
            }
        }
    });
}

void CpuBackend::norm(int rows, const Tensor& x, const Norm& norm, const Tensor& y) {
    const NormTask task = norm_task(norm);
    over_rows(rows, columns_of(x), [&](int begin, int end) {
        for (int r = begin; r < end; ++r) kernels_.norm(task, columns_of(x), row_of(x, r), row_of(y, r));
    });
}

void CpuBackend::norm_rotate_heads(int rows, const Tensor& heads, int count, int head_dim, const Norm* norm, const Rope& rope,
                                   const Tensor& rope_table) {
    const NormTask task = norm_task(norm);
    over_rows(rows, columns_of(heads), [&](int begin, int end) {
        for (int r = begin; r < end; ++r)
            kernels_.norm_rotate(row_of(heads, r), count, head_dim, task, rope.rotary_dim, rope.interleaved,
                                 rope_table.as<float>() + std::int64_t{r} * rope.rotary_dim);
    });
}

void CpuBackend::activate(int rows, std::int64_t columns, const Tensor& gate, const Tensor* up, Activation activation,
                          const Tensor& y) {
    over_rows(rows, columns * 4, [&](int begin, int end) {
        const std::int64_t from = begin * columns;
        kernels_.activate(curve_of(activation), (end - begin) * columns, gate.as<float>() + from,
                          up ? up->as<float>() + from : nullptr, y.as<float>() + from);
    });
}

void CpuBackend::add(int rows, std::int64_t columns, float scale, const Tensor& x, const Tensor& residual) {
    over_rows(rows, columns, [&](int begin, int end) {
        const std::int64_t from = begin * columns;
        kernels_.add((end - begin) * columns, scale, x.as<float>() + from, residual.as<float>() + from);
    });
}

}  // namespace narae::kernels::cpu
