// From the product qkv to what attention reads: norm and rotation of heads, and the append of keys and values to the cache. One
// warp has one head of one row. Float32 as kernels/ref/{norm,rope}.h define it.
#include "kernels/cuda/attention.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kAtOnce = 8;  // loads of a lane that are under way

struct HeadNorm {
    NormKind kind = NormKind::none;
    float eps = 0.0f;
    const float *weight = nullptr, *bias = nullptr;
};

// Heads that lie side by side in every row: from where, what is done with them, and to where.
struct Heads {
    int count = 0;
    Matrix from = {};
    const float* bias = nullptr;  // [count * head_dim], added first
    HeadNorm norm = {};
    bool rotates = false;
    bool cached = false;  // into `part` of the cache, otherwise to `to`
    KvPart part = KvPart::keys;
    Matrix to = {};
};

struct HeadsTask {
    int rows = 0, head_dim = 0;
    Heads heads[3] = {};  // of q, k and v
    Rope rope = {};
    const float* rope_table = nullptr;
    BatchView batch = {};
    KvView kv = {};
};

// Of each warp: the head's values and its norm's weights [head_dim], the row's cos and sin [rotary_dim].
__host__ __device__ __forceinline__ int shared_of_warp(const HeadsTask& task) {
    return 2 * task.head_dim + task.rope.rotary_dim;
}

__device__ void normalize(const HeadNorm& norm, int head_dim, int lane, float* values, const float* weights) {
    float mean = 0.0f;
    if (norm.kind == NormKind::layer) {
        for (int i = lane; i < head_dim; i += 32) mean += values[i];
        mean = warp_sum(mean) / static_cast<float>(head_dim);
    }
    float squares = 0.0f;
    for (int i = lane; i < head_dim; i += 32) {
        const float difference = values[i] - mean;
        squares = fmaf(difference, difference, squares);
    }
    const float inverse = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(head_dim) + norm.eps);
    for (int i = lane; i < head_dim; i += 32)
        values[i] = fmaf((values[i] - mean) * inverse, weights[i], norm.bias ? norm.bias[i] : 0.0f);
}

__device__ void rotate(const Rope& rope, int lane, float* values, const float* angles) {
    const int half = rope.rotary_dim / 2;
    for (int i = lane; i < half; i += 32) {
        float& first = values[rope.interleaved ? 2 * i : i];
        float& second = values[rope.interleaved ? 2 * i + 1 : i + half];
        const float a = first, b = second, cosine = angles[i], sine = angles[half + i];
        first = a * cosine - b * sine;
        second = b * cosine + a * sine;
    }
}

template <class T>
__device__ void store_cached(std::byte* to, int head_dim, int lane, const float* values) {
    for (int i = lane; i < head_dim; i += 32) reinterpret_cast<T*>(to)[i] = from_float<T>(values[i]);
}

__global__ void __launch_bounds__(kThreads) heads_kernel(const __grid_constant__ HeadsTask task) {
    extern __shared__ float shared[];
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int of_row = task.heads[0].count + task.heads[1].count + task.heads[2].count, head_dim = task.head_dim;
    const std::int64_t item = std::int64_t{blockIdx.x} * kWarps + warp;
    if (item >= std::int64_t{task.rows} * of_row) return;
    const std::int64_t row = item / of_row;
    int head = static_cast<int>(item % of_row), kind = 0;
    while (head >= task.heads[kind].count) head -= task.heads[kind++].count;
    const Heads& heads = task.heads[kind];

    // The batch's numbers and the norm's weights are not written during a step.
    std::byte* cached = heads.cached ? place_in_cache(task.kv, task.batch, row, heads.part, head) : nullptr;
    float* values = shared + warp * shared_of_warp(task);
    float* weights = values + head_dim;
    float* angles = weights + head_dim;
    const bool normed = heads.norm.kind != NormKind::none;
    if (normed)
        for (int i = lane; i < head_dim; i += 32) weights[i] = heads.norm.weight ? heads.norm.weight[i] : 1.0f;
    wait_for_inputs();

    const std::int64_t from = row * heads.from.stride + std::int64_t{head} * head_dim;
    const int rotary_dim = heads.rotates ? task.rope.rotary_dim : 0;
    for (int begin = lane; begin < head_dim; begin += 32 * kAtOnce) {
        float value[kAtOnce], angle[kAtOnce];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            const int i = begin + 32 * j;
            if (i < head_dim) value[j] = load_element(heads.from, from + i);
            if (i < head_dim && heads.bias) value[j] += heads.bias[head * head_dim + i];
            if (i < rotary_dim) angle[j] = __ldcg(task.rope_table + row * rotary_dim + i);
        }
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            const int i = begin + 32 * j;
            if (i < head_dim) values[i] = value[j];
            if (i < rotary_dim) angles[i] = angle[j];
        }
    }
    if (normed) normalize(heads.norm, head_dim, lane, values, weights);
    __syncwarp();
    rotate({rotary_dim, task.rope.interleaved}, lane, values, angles);
    __syncwarp();
    if (!heads.cached) {
        const std::int64_t to = row * heads.to.stride + std::int64_t{head} * head_dim;
        for (int i = lane; i < head_dim; i += 32) store_element(heads.to, to + i, values[i]);
        return;
    }
    switch (task.kv.type) {
        case KvType::f32:
            return store_cached<float>(cached, head_dim, lane, values);
        case KvType::f16:
            return store_cached<__half>(cached, head_dim, lane, values);
        case KvType::bf16:
            return store_cached<bf16>(cached, head_dim, lane, values);
    }
}

HeadNorm norm_of(const Norm* norm) {
    if (!norm) return {};
    return {norm->kind, norm->eps, norm->weight.as<const float>(), norm->bias.as<const float>()};
}

// The heads that begin at a column of a matrix.
Matrix from_column(const Matrix& m, std::int64_t column) {
    Matrix part = m;
    part.data = static_cast<std::byte*>(m.data) + column * (m.dtype == DType::f32 ? 4 : 2);
    return part;
}

Matrix float_rows(const float* data, std::int64_t columns) { return {const_cast<float*>(data), DType::f32, columns, columns}; }

void run(const Stream& stream, const char* name, const HeadsTask& task) {
    const std::int64_t items = std::int64_t{task.rows} * (task.heads[0].count + task.heads[1].count + task.heads[2].count);
    launch(stream, name, heads_kernel, dim3(blocks_for(items, kWarps)), dim3(kThreads),
           static_cast<std::size_t>(kWarps * shared_of_warp(task)) * sizeof(float), task);
}

}  // namespace

void rotate_and_append(const Stream& stream, const BatchView& batch, const Matrix& qkv, const float* bias, int heads,
                       const Norm* q_norm, const Norm* k_norm, const Rope& rope, const float* rope_table, const KvView& kv,
                       const Matrix& q) {
    HeadsTask task{
        .rows = batch.rows, .head_dim = kv.head_dim, .rope = rope, .rope_table = rope_table, .batch = batch, .kv = kv};
    const std::int64_t k_column = std::int64_t{heads} * kv.head_dim, columns = std::int64_t{kv.kv_heads} * kv.head_dim;
    const auto bias_from = [&](std::int64_t column) { return bias ? bias + column : nullptr; };
    task.heads[0] = {.count = heads, .from = qkv, .bias = bias, .norm = norm_of(q_norm), .rotates = true, .to = q};
    task.heads[1] = {.count = kv.kv_heads,
                     .from = from_column(qkv, k_column),
                     .bias = bias_from(k_column),
                     .norm = norm_of(k_norm),
                     .rotates = true,
                     .cached = true,
                     .part = KvPart::keys};
    task.heads[2] = {.count = kv.kv_heads,
                     .from = from_column(qkv, k_column + columns),
                     .bias = bias_from(k_column + columns),
                     .cached = true,
                     .part = KvPart::values};
    run(stream, "rotate_and_append", task);
}

void norm_rotate_heads(const Stream& stream, int rows, float* heads, int count, int head_dim, const Norm* norm,
                       const Rope& rope, const float* rope_table) {
    HeadsTask task{.rows = rows, .head_dim = head_dim, .rope = rope, .rope_table = rope_table};
    const Matrix in_place = float_rows(heads, std::int64_t{count} * head_dim);
    task.heads[0] = {.count = count, .from = in_place, .norm = norm_of(norm), .rotates = true, .to = in_place};
    run(stream, "norm_rotate_heads", task);
}

void append_kv(const Stream& stream, const BatchView& batch, const float* k, const float* v, const KvView& kv) {
    HeadsTask task{.rows = batch.rows, .head_dim = kv.head_dim, .batch = batch, .kv = kv};
    const std::int64_t columns = std::int64_t{kv.kv_heads} * kv.head_dim;
    task.heads[1] = {.count = kv.kv_heads, .from = float_rows(k, columns), .cached = true, .part = KvPart::keys};
    task.heads[2] = {.count = kv.kv_heads, .from = float_rows(v, columns), .cached = true, .part = KvPart::values};
    run(stream, "append_kv", task);
}

}  // namespace narae::kernels::cuda
