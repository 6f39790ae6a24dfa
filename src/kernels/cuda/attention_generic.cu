// Attention in float32 for every shape and type: the precision of the specification, and what the kernels on tensor cores leave
// over. A block has one query head of one row; its warps share the keys in chunks of 32 by position, each with a running
// maximum (Milakov and Gimelshein 2018), and are added up in order. A row's result depends on nothing but the row.
#include "kernels/cuda/attention.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kWarps = 8, kChunk = 32, kAtOnce = 4;

// shared: the query [head_dim], then the sum of values of each warp [kWarps, head_dim].
template <class T>
__global__ void __launch_bounds__(32 * kWarps) generic_kernel(const Attention a) {
    extern __shared__ float shared[];
    __shared__ float weights[kWarps][kChunk], largest[kWarps], total[kWarps];
    const int head = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int head_dim = a.kv.head_dim, kv_head = head / a.group;
    wait_for_inputs();

    const int position = a.batch.positions[row], first = first_seen(a.kv, position);
    const std::int32_t* table = a.batch.table + std::int64_t{a.batch.row_sequence[row]} * a.batch.table_stride;
    const float slope = a.slopes ? a.slopes[head] : 0.0f;
    const std::int64_t column = std::int64_t{head} * head_dim;
    float* query = shared;
    float* sums = shared + (1 + warp) * head_dim;
    for (int i = static_cast<int>(threadIdx.x); i < head_dim; i += 32 * kWarps)
        query[i] = load_element(a.q, row * a.q.stride + column + i);
    for (int i = lane; i < head_dim; i += 32) sums[i] = 0.0f;
    __syncthreads();

    float high = kMinusInfinity, sum = 0.0f;
    for (int chunk = first / kChunk + warp; chunk <= position / kChunk; chunk += kWarps) {
        const int begin = chunk * kChunk;
        const int low = max(first, begin) - begin, last = min(position, begin + kChunk - 1) - begin;
        const std::int32_t block = table[begin / kBlockTokens];
        const std::int64_t offset = std::int64_t{begin % kBlockTokens} * head_dim;
        const T* keys = reinterpret_cast<const T*>(part_of(a.kv, block, KvPart::keys, kv_head, sizeof(T))) + offset;
        const T* values = reinterpret_cast<const T*>(part_of(a.kv, block, KvPart::values, kv_head, sizeof(T))) + offset;

        float score = kMinusInfinity;
        for (int j = low; j <= last; j += kAtOnce) {
            float product[kAtOnce] = {};
            for (int i = lane; i < head_dim; i += 32)
#pragma unroll
                for (int u = 0; u < kAtOnce; ++u)
                    product[u] = fmaf(query[i], to_float(keys[min(j + u, last) * head_dim + i]), product[u]);
#pragma unroll
            for (int u = 0; u < kAtOnce; ++u) {
                const float whole = warp_sum(product[u]);
                if (lane == j + u && lane <= last) score = whole;
            }
        }
        const bool seen = lane >= low && lane <= last;
        if (seen) {
            score *= a.scale;
            if (a.soft_cap > 0.0f) score = a.soft_cap * tanhf(score / a.soft_cap);
            score = fmaf(-slope, static_cast<float>(position - begin - lane), score);
        }
        const float higher = fmaxf(high, warp_max(score)), factor = expf(high - higher);
        const float weight = seen ? expf(score - higher) : 0.0f;
        high = higher;
        sum = fmaf(sum, factor, warp_sum(weight));
        weights[warp][lane] = weight;
        __syncwarp();
        for (int i = lane; i < head_dim; i += 32) {
            float value = sums[i] * factor;
#pragma unroll 4
            for (int j = low; j <= last; ++j) value = fmaf(weights[warp][j], to_float(values[j * head_dim + i]), value);
            sums[i] = value;
        }
        __syncwarp();
    }
    if (lane == 0) {
        largest[warp] = high;
        total[warp] = sum;
    }
    __syncthreads();

    float top = a.sinks ? a.sinks[head] : kMinusInfinity;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, largest[w]);
    float whole = a.sinks ? expf(a.sinks[head] - top) : 0.0f;
    for (int w = 0; w < kWarps; ++w) whole = fmaf(total[w], expf(largest[w] - top), whole);
    for (int i = static_cast<int>(threadIdx.x); i < head_dim; i += 32 * kWarps) {
        float value = 0.0f;
        for (int w = 0; w < kWarps; ++w) value = fmaf(shared[(1 + w) * head_dim + i], expf(largest[w] - top), value);
        store_element(a.out, row * a.out.stride + column + i, value / whole);
    }
}

}  // namespace

void attend_generic(const Stream& stream, const Attention& a) {
    const dim3 grid(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch.rows));
    const auto run = [&](void (*kernel)(Attention)) {
        launch(stream, "attention in float32", kernel, grid, dim3(32 * kWarps),
               static_cast<std::size_t>(1 + kWarps) * static_cast<std::size_t>(a.kv.head_dim) * sizeof(float), a);
    };
    switch (a.kv.type) {
        case KvType::f32:
            return run(generic_kernel<float>);
        case KvType::f16:
            return run(generic_kernel<__half>);
        case KvType::bf16:
            return run(generic_kernel<bf16>);
    }
}

}  // namespace narae::kernels::cuda
