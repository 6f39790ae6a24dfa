// Attention of one new row per sequence: flash-decoding (Dao et al. 2023). A sequence's keys are split over blocks, each with
// all query heads of one kv head; the last block to arrive adds the parts up in order.
//
// Keys and values go from global memory straight to the registers of tensor cores: a warp takes 16 keys of every page and reads
// them by 16-byte loads that are operands as they arrive. Scores are K Q^T, [16 keys, 8 heads]: components are summed in the
// order in which lanes hold them, in K and Q alike. The values' product is V^T P^T, [16 components, 8 heads]: pairs of keys
// come together by byte permutes, and movmatrix turns the weights over.
#include "kernels/cuda/attention.cuh"

#include <algorithm>

namespace narae::kernels::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32, kWarpKeys = 16;
static_assert(kWarps * kWarpKeys == kBlockTokens);
constexpr int kTileHeads = 8;                // columns of one product
constexpr int kMostTiles = 2;                // of one block
constexpr int kMostSplits = 64;              // more cost the last block more than they help
constexpr int kBlocksPerMultiprocessor = 8;  // wanted: two to four times what runs at once, so that the end is even
constexpr int kPartsAtOnce = 16;             // loads that the last block has under way
constexpr std::int64_t kLine = 128, kAlignment = 256;

struct Parts {
    int splits = 1, head_tiles = 1;  // head_tiles: blocks that share the query heads of one kv head
    int* arrived = nullptr;          // [sequences, kv_heads * head_tiles], zero between calls
    float* values = nullptr;         // [sequences, heads, splits, head_dim]
    float2* statistics = nullptr;    // [sequences, heads, splits]: largest exponent, sum of weights
};

std::int64_t counters_of(const Stream& stream) {
    const std::int64_t bytes = std::int64_t{stream.multiprocessors} * kBlocksPerMultiprocessor / 2 * std::int64_t{sizeof(int)};
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

__device__ __forceinline__ std::uint32_t transpose(std::uint32_t pairs) {
    std::uint32_t turned;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pairs));
    return turned;
}

// Into the L2 cache, which is right whatever is still being written there.
__device__ __forceinline__ void prefetch(const std::byte* address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(address)));
}

// Counts up. What this block wrote before a barrier is seen by those who count later, after a barrier of theirs.
__device__ __forceinline__ int arrive(int* counter) {
    int before;
    asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], 1;"
                 : "=r"(before)
                 : "l"(__cvta_generic_to_global(counter))
                 : "memory");
    return before;
}

// Volatile, so that it stays where registers are few.
__device__ __forceinline__ uint4 load_shared(const uint4* from) {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(from)))
                 : "memory");
    return x;
}

__device__ __forceinline__ std::uint32_t word_of(const uint4& four, int index) {
    return index == 0 ? four.x : index == 1 ? four.y : index == 2 ? four.z : four.w;
}

__device__ __forceinline__ void add_scaled(float4& sum, float factor, const float4& x) {
    sum.x = fmaf(factor, x.x, sum.x);
    sum.y = fmaf(factor, x.y, sum.y);
    sum.z = fmaf(factor, x.z, sum.z);
    sum.w = fmaf(factor, x.w, sum.w);
}

__device__ __forceinline__ void finish(const Attention& a, int row, int head, int d, const float4& sum, float largest,
                                       float total) {
    const float factor = final_factor(a, head, largest, total);
    const std::int64_t at = row * a.out.stride + std::int64_t{head} * a.kv.head_dim + d;
    store_pair(a.out, at, sum.x * factor, sum.y * factor);
    store_pair(a.out, at + 2, sum.z * factor, sum.w * factor);
}

constexpr int resident_blocks(int head_dim, int tiles) {
    if (head_dim == 64) return 4;
    return head_dim == 128 && tiles == 1 ? 3 : 2;
}

// kHeadDim: head_dim rounded up to 64, 128 or 256. kTiles: times eight query heads.
template <class T, int kHeadDim, int kTiles>
__global__ void __launch_bounds__(kThreads, resident_blocks(kHeadDim, kTiles))
    decode_kernel(const Attention a, const Parts parts) {
    constexpr int kKeyPieces = kHeadDim / 32, kValuePieces = kHeadDim / 64;
    constexpr bool kBothAhead = kHeadDim <= 128;  // keys and values are loaded a page ahead; otherwise they share registers
    __shared__ float merged[kWarps][kTiles * kTileHeads][kHeadDim + 4];
    __shared__ float2 statistics[kWarps][kTiles * kTileHeads];
    __shared__ uint4 queries[kTiles][kKeyPieces][32];
    __shared__ bool is_last;

    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const int kv_head = static_cast<int>(blockIdx.x) / parts.head_tiles;
    const int head_of_group = static_cast<int>(blockIdx.x) % parts.head_tiles * (kTiles * kTileHeads);
    const int head_begin = kv_head * a.group + head_of_group, heads = min(kTiles * kTileHeads, a.group - head_of_group);
    const int sequence = static_cast<int>(blockIdx.y), split = static_cast<int>(blockIdx.z);
    const int head_dim = a.kv.head_dim;

    // Of a batch's numbers nothing is written during a step. Blocks without work need not wait: the first split of a sequence
    // always does.
    int row = sequence;
    if (a.batch.rows != a.batch.sequences) {
        row = a.batch.row_begin[sequence];
        if (a.batch.row_begin[sequence + 1] - row != 1) return;
    }
    const int position = a.batch.positions[row], first = first_seen(a.kv, position);
    const int first_page = first / kBlockTokens, pages = position / kBlockTokens - first_page + 1;
    const int splits = min(parts.splits, pages);
    if (split >= splits) return;
    const int page_begin = first_page + pages * split / splits, page_end = first_page + pages * (split + 1) / splits;
    const std::int32_t* table = a.batch.table + std::int64_t{sequence} * a.batch.table_stride;
    std::int32_t block = table[page_begin];
    std::int32_t next = page_begin + 1 < page_end ? table[page_begin + 1] : 0;
    {
        const std::byte* keys = part_of(a.kv, block, KvPart::keys, kv_head, sizeof(T));
        const std::byte* values = part_of(a.kv, block, KvPart::values, kv_head, sizeof(T));
        const std::int64_t bytes = std::int64_t{kBlockTokens} * head_dim * std::int64_t{sizeof(T)};
#pragma unroll 1
        for (std::int64_t offset = thread * kLine; offset < bytes; offset += kThreads * kLine) {
            prefetch(keys + offset);
            prefetch(values + offset);
        }
    }
    wait_for_inputs();

    // What is not seen is zero: a weight of zero does not silence a NaN among the values.
    uint4 k[kKeyPieces][2], v[kValuePieces][4];
    const int row_bytes = head_dim * static_cast<int>(sizeof(T)), key_of_warp = warp * kWarpKeys;
    const auto load = [&](const std::byte* from, int key, int d) {
        const bool present = key >= first && key <= position && d < head_dim;
        return present ? __ldcg(reinterpret_cast<const uint4*>(from)) : make_uint4(0, 0, 0, 0);
    };
    const auto load_keys = [&](std::int32_t from_block, int page) {
        const int key = key_of_warp + g;
        const std::byte* from =
            part_of(a.kv, from_block, KvPart::keys, kv_head, sizeof(T)) + key * row_bytes + 8 * t * static_cast<int>(sizeof(T));
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int c = 0; c < kKeyPieces; ++c)
                k[c][h] = load(from + 32 * c * sizeof(T), page * kBlockTokens + key + 8 * h, 32 * c + 8 * t);
            from += 8 * row_bytes;
        }
    };
    const auto load_values = [&](std::int32_t from_block, int page) {
        const int key = key_of_warp + 2 * t;
        const std::byte* from = part_of(a.kv, from_block, KvPart::values, kv_head, sizeof(T)) + key * row_bytes +
                                8 * g * static_cast<int>(sizeof(T));
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // keys 0, 1, 8 and 9 from there
#pragma unroll
            for (int c = 0; c < kValuePieces; ++c)
                v[c][i] = load(from + 64 * c * sizeof(T), page * kBlockTokens + key + i % 2 + i / 2 * 8, 64 * c + 8 * g);
            from += i == 1 ? 7 * row_bytes : row_bytes;
        }
    };
    load_keys(block, page_begin);
    if constexpr (kBothAhead) load_values(block, page_begin);

        // The queries as operands, the same for every warp.
#pragma unroll 1
    for (int item = warp; item < kTiles * kKeyPieces; item += kWarps) {
        const int n = item / kKeyPieces, c = item % kKeyPieces, head = n * kTileHeads + g, d = 32 * c + 8 * t;
        Eight eight;
        if (head < heads && d < head_dim)
            eight = load_eight(a.q, row * a.q.stride + std::int64_t{head_begin + head} * head_dim + d);
        queries[n][c][lane] = convert_eight<T>(a.q, eight);
    }
    float slope[kTiles][2];  // of heads 2t and 2t + 1
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int head = n * kTileHeads + 2 * t + e;
            slope[n][e] = a.slopes && head < heads ? a.slopes[head_begin + head] : 0.0f;
        }
    __syncthreads();

    float o[kTiles][kValuePieces][4][4] = {};
    float largest[kTiles][2], total[kTiles][2];  // of the same heads; the total only over this lane's keys
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            largest[n][e] = kMinusInfinity;
            total[n][e] = 0.0f;
        }

    for (int page = page_begin; page < page_end; ++page) {
        float s[kTiles][4] = {};
#pragma unroll
        for (int c = 0; c < kKeyPieces; ++c)
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                const uint4 q = load_shared(&queries[n][c][lane]);
                multiply<T>(s[n], k[c][0].x, k[c][1].x, k[c][0].y, k[c][1].y, q.x, q.y);
                multiply<T>(s[n], k[c][0].z, k[c][1].z, k[c][0].w, k[c][1].w, q.z, q.w);
            }
        const bool more = page + 1 < page_end;
        if constexpr (kBothAhead) {
            if (more) load_keys(next, page + 1);
        } else {
            load_values(block, page);
        }

        std::uint32_t weights[kTiles][2];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int key = page * kBlockTokens + key_of_warp + g + i / 2 * 8;
                float score = s[n][i] * a.scale;
                if (a.soft_cap > 0.0f) score = capped(score, a.soft_cap);
                score = (score - slope[n][i % 2] * static_cast<float>(position - key)) * kLog2E;
                s[n][i] = key >= first && key <= position ? score : kMinusInfinity;
            }
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float higher = fmaxf(s[n][e], s[n][e + 2]);
#pragma unroll
                for (int distance = 4; distance < 32; distance *= 2)
                    higher = fmaxf(higher, __shfl_xor_sync(0xffffffffu, higher, distance));
                higher = fmaxf(higher, largest[n][e]);
                const float base = higher == kMinusInfinity ? 0.0f : higher;  // this warp has seen nothing yet
                const float factor = exp2_fast(largest[n][e] - base);
                largest[n][e] = higher;
                s[n][e] = exp2_fast(s[n][e] - base);
                s[n][e + 2] = exp2_fast(s[n][e + 2] - base);
                total[n][e] = fmaf(total[n][e], factor, s[n][e] + s[n][e + 2]);
#pragma unroll
                for (int c = 0; c < kValuePieces; ++c)
#pragma unroll
                    for (int w = 0; w < 4; ++w) {
                        o[n][c][w][e] *= factor;
                        o[n][c][w][e + 2] *= factor;
                    }
            }
            weights[n][0] = transpose(pack_pair<T>(s[n][0], s[n][1]));
            weights[n][1] = transpose(pack_pair<T>(s[n][2], s[n][3]));
        }
#pragma unroll
        for (int c = 0; c < kValuePieces; ++c) {
#pragma unroll
            for (int w = 0; w < 4; ++w) {  // component 64 c + 8 g + 2 w is row g of the product, the one after it row g + 8
                const std::uint32_t k0 = word_of(v[c][0], w), k1 = word_of(v[c][1], w), k8 = word_of(v[c][2], w),
                                    k9 = word_of(v[c][3], w);
                const std::uint32_t a0 = __byte_perm(k0, k1, 0x5410), a1 = __byte_perm(k0, k1, 0x7632),
                                    a2 = __byte_perm(k8, k9, 0x5410), a3 = __byte_perm(k8, k9, 0x7632);
#pragma unroll
                for (int n = 0; n < kTiles; ++n) multiply<T>(o[n][c][w], a0, a1, a2, a3, weights[n][0], weights[n][1]);
            }
        }
        if (more) kBothAhead ? load_values(next, page + 1) : load_keys(next, page + 1);
        block = next;
        if (page + 2 < page_end) next = table[page + 2];
    }

#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int head = n * kTileHeads + 2 * t + e;
            float sum = total[n][e];
#pragma unroll
            for (int distance = 4; distance < 32; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
            if (g == 0) statistics[warp][head] = make_float2(largest[n][e], sum);
#pragma unroll
            for (int c = 0; c < kValuePieces; ++c)
#pragma unroll
                for (int w = 0; w < 4; w += 2)
                    if (head < heads)
                        *reinterpret_cast<float4*>(&merged[warp][head][64 * c + 8 * g + 2 * w]) =
                            make_float4(o[n][c][w][e], o[n][c][w][e + 2], o[n][c][w + 1][e], o[n][c][w + 1][e + 2]);
        }
    __syncthreads();

    const int pieces = head_dim / 4;
    const std::int64_t first_part = (std::int64_t{sequence} * a.heads + head_begin) * parts.splits;
    for (int item = thread; item < heads * pieces; item += kThreads) {
        const int head = item / pieces, d = item % pieces * 4;
        float top = kMinusInfinity, whole = 0.0f;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
        for (int w = 0; w < kWarps; ++w) top = fmaxf(top, statistics[w][head].x);
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
            const float factor = exp2_fast(statistics[w][head].x - top);
            whole = fmaf(factor, statistics[w][head].y, whole);
            add_scaled(sum, factor, *reinterpret_cast<const float4*>(&merged[w][head][d]));
        }
        if (splits == 1) {
            finish(a, row, head_begin + head, d, sum, top, whole);
            continue;
        }
        const std::int64_t part = first_part + std::int64_t{head} * parts.splits + split;
        *reinterpret_cast<float4*>(parts.values + part * head_dim + d) = sum;
        if (d == 0) parts.statistics[part] = make_float2(top, whole);
    }
    if (splits == 1) return;

    __syncthreads();
    if (thread == 0) {
        int* arrived = parts.arrived + sequence * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
        is_last = arrive(arrived) == splits - 1;
        if (is_last) *arrived = 0;
    }
    __syncthreads();
    if (!is_last) return;

    for (int item = thread; item < heads * pieces; item += kThreads) {
        const int head = item / pieces, d = item % pieces * 4;
        const std::int64_t first_of_head = first_part + std::int64_t{head} * parts.splits;
        float top = kMinusInfinity, whole = 0.0f;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int begin = 0; begin < splits; begin += kPartsAtOnce) {
            float2 of_part[kPartsAtOnce];
            float4 values[kPartsAtOnce];
            const float2* from_statistics = parts.statistics + first_of_head + begin;
            const float* from = parts.values + (first_of_head + begin) * head_dim + d;
#pragma unroll
            for (int i = 0; i < kPartsAtOnce; ++i) {
                const bool present = begin + i < splits;
                of_part[i] = present ? __ldcg(from_statistics + i) : make_float2(kMinusInfinity, 0.0f);
                values[i] = present ? __ldcg(reinterpret_cast<const float4*>(from)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                from += head_dim;
            }
            float higher = top;
#pragma unroll
            for (int i = 0; i < kPartsAtOnce; ++i) higher = fmaxf(higher, of_part[i].x);
            const float before = exp2_fast(top - higher);
            top = higher;
            whole *= before;
            sum = make_float4(sum.x * before, sum.y * before, sum.z * before, sum.w * before);
#pragma unroll
            for (int i = 0; i < kPartsAtOnce; ++i) {
                const float factor = exp2_fast(of_part[i].x - top);
                whole = fmaf(factor, of_part[i].y, whole);
                add_scaled(sum, factor, values[i]);
            }
        }
        finish(a, row, head_begin + head, d, sum, top, whole);
    }
}

template <class T>
auto kernel_of(int head_dim, int tiles) {
    if (head_dim <= 64) return tiles == 1 ? decode_kernel<T, 64, 1> : decode_kernel<T, 64, 2>;
    if (head_dim <= 128) return tiles == 1 ? decode_kernel<T, 128, 1> : decode_kernel<T, 128, 2>;
    return decode_kernel<T, 256, 1>;
}

int pages_of(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

// Partial results exist only where there are at least two splits, that is for at most half the wanted blocks before splitting.
std::size_t attention_scratch_bytes(const Stream& stream, int max_rows, int heads, int head_dim, int max_context) {
    const std::int64_t wanted = std::int64_t{stream.multiprocessors} * kBlocksPerMultiprocessor;
    const std::int64_t parts = std::min(std::int64_t{max_rows} * heads * std::min(kMostSplits, pages_of(max_context)),
                                        wanted * kMostTiles * kTileHeads);
    const std::int64_t of_part = head_dim * std::int64_t{sizeof(float)} + std::int64_t{sizeof(float2)};
    return static_cast<std::size_t>(counters_of(stream) + parts * of_part);
}

void attend_single_rows(const Stream& stream, const Attention& a, std::byte* scratch) {
    const int tiles = a.group > kTileHeads && a.kv.head_dim <= 128 ? 2 : 1;
    Parts parts;
    parts.head_tiles = (a.group + tiles * kTileHeads - 1) / (tiles * kTileHeads);
    // A window of W positions lies in at most (W - 2) / kBlockTokens + 2 pages.
    const int pages = a.kv.window > 0 ? std::min(a.batch.table_stride, pages_of(a.kv.window - 1) + 1) : a.batch.table_stride;
    const std::int64_t wanted = std::int64_t{stream.multiprocessors} * kBlocksPerMultiprocessor;
    const std::int64_t unsplit = std::int64_t{a.batch.sequences} * a.kv.kv_heads * parts.head_tiles;
    parts.splits = static_cast<int>(std::clamp<std::int64_t>(wanted / unsplit, 1, std::max(1, std::min(kMostSplits, pages))));
    std::byte* values = scratch + counters_of(stream);
    parts.arrived = reinterpret_cast<int*>(scratch);
    parts.values = reinterpret_cast<float*>(values);
    parts.statistics = reinterpret_cast<float2*>(values + std::int64_t{a.batch.sequences} * a.heads * parts.splits *
                                                              a.kv.head_dim * std::int64_t{sizeof(float)});
    const dim3 grid(static_cast<unsigned>(a.kv.kv_heads * parts.head_tiles), static_cast<unsigned>(a.batch.sequences),
                    static_cast<unsigned>(parts.splits));
    const auto kernel =
        a.kv.type == KvType::bf16 ? kernel_of<bf16>(a.kv.head_dim, tiles) : kernel_of<__half>(a.kv.head_dim, tiles);
    launch(stream, "attention of single rows", kernel, grid, dim3(kThreads), 0, a, parts);
}

}  // namespace narae::kernels::cuda
