// Attention of sequences with several new rows: FlashAttention-2 (Dao 2023) over a paged cache, on mma.m16n8k16.
//
// The rows of a tile are pairs (row of the sequence, query head) of one kv head, heads fastest, so that they share keys and
// values whatever the ratio of heads. A block has one tile of them; each warp has its own rows and all keys. Keys and values
// come page by page into shared memory by cp.async: a page's values while its scores are computed, the next page's keys while
// its values are multiplied. Rows of shared memory are padded by 16 bytes, so that ldmatrix meets every bank once.
#include "kernels/cuda/attention.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kKeyTiles = kBlockTokens / 8;
constexpr unsigned kAllLanes = 0xffffffffu;

// Tiles of a sequence; a single row is left to attend_single_rows().
__host__ __device__ __forceinline__ int tiles_of(int rows, int group, int tile_rows) {
    return rows <= 1 ? 0 : (rows * group + tile_rows - 1) / tile_rows;
}

__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], std::uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from));
}
__device__ __forceinline__ void load_transposed(std::uint32_t (&to)[4], std::uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from));
}
// 16 bytes into shared memory, zeros where nothing is present.
__device__ __forceinline__ void copy_async(std::uint32_t to, const std::byte* from, bool present) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "r"(present ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

struct TilePlace {
    int sequence = 0, tile = 0;
};
// The tile's place among those of all sequences. By all lanes of a warp.
__device__ TilePlace find_tile(const BatchView& batch, int group, int tile_rows, int tile) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int begin = 0; begin < batch.sequences; begin += 32) {
        const int sequence = begin + lane;
        const int count = sequence < batch.sequences
                              ? tiles_of(batch.row_begin[sequence + 1] - batch.row_begin[sequence], group, tile_rows)
                              : 0;
        int through = count;  // tiles of this and the lanes before
#pragma unroll
        for (int distance = 1; distance < 32; distance *= 2) {
            const int before = __shfl_up_sync(kAllLanes, through, distance);
            if (lane >= distance) through += before;
        }
        const unsigned beyond = __ballot_sync(kAllLanes, through > tile);
        if (beyond) {
            const int found = __ffs(static_cast<int>(beyond)) - 1;
            return {begin + found, tile - __shfl_sync(kAllLanes, through - count, found)};
        }
        tile -= __shfl_sync(kAllLanes, through, 31);
    }
    return {};
}

constexpr int resident_blocks(int head_dim, int row_tiles) {
    if (head_dim == 64) return 4;
    return row_tiles == 1 && head_dim <= 128 ? 3 : 2;
}

template <int kHeadDim, int kRowTiles>
struct TileShape {
    static constexpr int kRows = kWarps * 16 * kRowTiles;
    static constexpr int kStride = (kHeadDim + 8) * 2;  // bytes of a row in shared memory
    static constexpr std::size_t kSharedBytes = (kRows + 2 * kBlockTokens) * kStride;
};

// kHeadDim: head_dim rounded up to 64, 96, 128 or 256. kRowTiles: times 16 rows of each warp.
template <class T, int kHeadDim, int kRowTiles>
__global__ void __launch_bounds__(kThreads, resident_blocks(kHeadDim, kRowTiles))
    prefill_kernel(const Attention a, const int tiles) {
    using Shape = TileShape<kHeadDim, kRowTiles>;
    constexpr int kRows = Shape::kRows, kStride = Shape::kStride, kPieces = kHeadDim / 8;
    constexpr int kPassRows = kHeadDim == 96 ? 8 : kThreads / kPieces;  // a divisor of kBlockTokens
    extern __shared__ __align__(16) std::byte shared[];
    const auto queries = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
    const std::uint32_t keys = queries + kRows * kStride, values = keys + kBlockTokens * kStride;

    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const int kv_head = static_cast<int>(blockIdx.x), head_dim = a.kv.head_dim, group = a.group;
    // The last tiles of a sequence see the most keys: they begin first. Of a batch's numbers nothing is written during a step.
    const TilePlace place = find_tile(a.batch, group, kRows, tiles - 1 - static_cast<int>(blockIdx.y));
    const int row_begin = a.batch.row_begin[place.sequence];
    const int pairs = (a.batch.row_begin[place.sequence + 1] - row_begin) * group;  // of the sequence
    const int pair_begin = place.tile * kRows;
    const int position_begin = a.batch.positions[row_begin];
    const int lowest = position_begin + pair_begin / group;
    const int highest = position_begin + (min(pair_begin + kRows, pairs) - 1) / group;
    const int page_begin = first_seen(a.kv, lowest) / kBlockTokens, page_last = highest / kBlockTokens;
    const int window = a.kv.window > 0 ? a.kv.window : 1 << 30;
    const std::int32_t* table = a.batch.table + std::int64_t{place.sequence} * a.batch.table_stride;
    std::int32_t block = table[page_begin];
    wait_for_inputs();

    // What lies beyond the last position that the tile sees becomes zero: a weight of zero does not silence a NaN. A thread
    // copies 16 bytes of a row, then of every kPassRows-th row after it.
    const int copied_row = thread / kPieces, copied_column = thread % kPieces * 8;
    const int last_copied = copied_column < head_dim ? highest - copied_row : -1;
    const std::uint32_t copied_place = copied_row * kStride + copied_column * 2;
    const int copied_from = (copied_row * head_dim + copied_column) * 2;
    const auto copy_page = [&](std::uint32_t to, KvPart part, std::int32_t from_block, int page) {
        if (copied_row >= kPassRows) return;
        const std::byte* from = part_of(a.kv, from_block, part, kv_head, sizeof(T)) + copied_from;
#pragma unroll
        for (int row = 0; row < kBlockTokens; row += kPassRows) {
            copy_async(to + copied_place + row * kStride, from, page * kBlockTokens + row <= last_copied);
            from += kPassRows * head_dim * 2;
        }
    };
    copy_page(keys, KvPart::keys, block, page_begin);

    constexpr int kItems = kRows * kPieces / kThreads, kAtOnce = kItems % 8 == 0 ? 8 : kItems;
    for (int begin = thread; begin < kRows * kPieces; begin += kAtOnce * kThreads) {
        Eight eight[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const int item = begin + i * kThreads, pair = pair_begin + item / kPieces, d = item % kPieces * 8;
            if (pair < pairs && d < head_dim)
                eight[i] = load_eight(
                    a.q, (row_begin + pair / group) * a.q.stride + std::int64_t{kv_head * group + pair % group} * head_dim + d);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const int item = begin + i * kThreads;
            *reinterpret_cast<uint4*>(shared + item / kPieces * kStride + item % kPieces * 16) =
                convert_eight<T>(a.q, eight[i]);
        }
    }

    int position[kRowTiles][2];  // of rows g and g + 8; -1 beyond the sequence
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const int pair = pair_begin + (warp * kRowTiles + i) * 16 + 8 * h + g;
            position[i][h] = pair < pairs ? position_begin + pair / group : -1;
        }

    const std::uint32_t query_rows = queries + (warp * kRowTiles * 16 + lane % 16) * kStride + lane / 16 * 16;
    const std::uint32_t key_rows = keys + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 16;
    const std::uint32_t value_rows = values + lane % 16 * kStride + lane / 16 * 16;

    float o[kRowTiles][kHeadDim / 8][4] = {};
    float largest[kRowTiles][2], total[kRowTiles][2];  // the total only over this lane's keys
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            largest[i][h] = kMinusInfinity;
            total[i][h] = 0.0f;
        }

    for (int page = page_begin; page <= page_last; ++page) {
        const std::int32_t next = page < page_last ? table[page + 1] : 0;
        wait_for_copies();
        __syncthreads();  // these keys are there, and all warps are done with the values before
        copy_page(values, KvPart::values, block, page);

        float s[kRowTiles][kKeyTiles][4] = {};
#pragma unroll
        for (int k = 0; k < kHeadDim / 16; ++k) {
            std::uint32_t q[kRowTiles][4];
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i) load_matrices(q[i], query_rows + i * 16 * kStride + k * 32);
#pragma unroll
            for (int n = 0; n < kKeyTiles; n += 2) {
                std::uint32_t b[4];
                load_matrices(b, key_rows + n * 8 * kStride + k * 32);
#pragma unroll
                for (int i = 0; i < kRowTiles; ++i) {
                    multiply<T>(s[i][n], q[i][0], q[i][1], q[i][2], q[i][3], b[0], b[1]);
                    multiply<T>(s[i][n + 1], q[i][0], q[i][1], q[i][2], q[i][3], b[2], b[3]);
                }
            }
        }
        wait_for_copies();
        __syncthreads();  // these values are there, and all warps are done with the keys
        if (page < page_last) copy_page(keys, KvPart::keys, next, page + 1);
        block = next;

        const int key_begin = page * kBlockTokens + 2 * t;  // of this lane
        float scale = a.scale * kLog2E;
        if (a.soft_cap > 0.0f || a.slopes) {
            scale = kLog2E;
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
                for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                    for (int c = 0; c < 4; ++c) {
                        s[i][n][c] *= a.scale;
                        if (a.soft_cap > 0.0f) s[i][n][c] = capped(s[i][n][c], a.soft_cap);
                    }
        }
        if (a.slopes) {
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    const int pair = pair_begin + (warp * kRowTiles + i) * 16 + 8 * h + g;
                    const float slope = a.slopes[kv_head * group + pair % group];
                    const float distance = static_cast<float>(position[i][h] - key_begin);
#pragma unroll
                    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                        for (int e = 0; e < 2; ++e) s[i][n][2 * h + e] -= slope * (distance - static_cast<float>(8 * n + e));
                }
        }
        if ((page + 1) * kBlockTokens - 1 > lowest || page * kBlockTokens <= highest - window) {
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    const int last = position[i][h] - key_begin, before = last - window;
#pragma unroll
                    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                        for (int e = 0; e < 2; ++e)
                            if (8 * n + e > last || 8 * n + e <= before) s[i][n][2 * h + e] = kMinusInfinity;
                }
        }
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                float higher = s[i][0][2 * h];
#pragma unroll
                for (int n = 0; n < kKeyTiles; ++n) higher = fmaxf(higher, fmaxf(s[i][n][2 * h], s[i][n][2 * h + 1]));
                higher = fmaxf(higher, __shfl_xor_sync(kAllLanes, higher, 1));
                higher = fmaxf(higher, __shfl_xor_sync(kAllLanes, higher, 2));
                higher = fmaxf(largest[i][h], higher * scale);
                const float base = higher == kMinusInfinity ? 0.0f : higher;  // nothing seen yet
                const float factor = exp2_fast(largest[i][h] - base);
                largest[i][h] = higher;
                float sum = 0.0f;
#pragma unroll
                for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        float& weight = s[i][n][2 * h + e];
                        weight = exp2_fast(fmaf(weight, scale, -base));
                        sum += weight;
                    }
                total[i][h] = fmaf(total[i][h], factor, sum);
#pragma unroll
                for (int n = 0; n < kHeadDim / 8; ++n) {
                    o[i][n][2 * h] *= factor;
                    o[i][n][2 * h + 1] *= factor;
                }
            }
#pragma unroll
        for (int k = 0; k < kBlockTokens / 16; ++k) {
            std::uint32_t p[kRowTiles][4];
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    p[i][c] = pack_pair<T>(s[i][2 * k + c / 2][c % 2 * 2], s[i][2 * k + c / 2][c % 2 * 2 + 1]);
#pragma unroll
            for (int n = 0; n < kHeadDim / 8; n += 2) {
                std::uint32_t b[4];
                load_transposed(b, value_rows + k * 16 * kStride + n * 16);
#pragma unroll
                for (int i = 0; i < kRowTiles; ++i) {
                    multiply<T>(o[i][n], p[i][0], p[i][1], p[i][2], p[i][3], b[0], b[1]);
                    multiply<T>(o[i][n + 1], p[i][0], p[i][1], p[i][2], p[i][3], b[2], b[3]);
                }
            }
        }
    }

#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float whole = total[i][h];
            whole += __shfl_xor_sync(kAllLanes, whole, 1);
            whole += __shfl_xor_sync(kAllLanes, whole, 2);
            const int pair = pair_begin + (warp * kRowTiles + i) * 16 + 8 * h + g;
            if (pair >= pairs) continue;
            const int head = kv_head * group + pair % group;
            const float factor = final_factor(a, head, largest[i][h], whole);
            const std::int64_t at = (row_begin + pair / group) * a.out.stride + std::int64_t{head} * head_dim;
#pragma unroll
            for (int n = 0; n < kHeadDim / 8; ++n)
                if (8 * n < head_dim)
                    store_pair(a.out, at + 8 * n + 2 * t, o[i][n][2 * h] * factor, o[i][n][2 * h + 1] * factor);
        }
}

template <class T, int kHeadDim, int kRowTiles>
void run(const Stream& stream, const Attention& a, int tiles) {
    launch(stream, "attention of row tiles", prefill_kernel<T, kHeadDim, kRowTiles>,
           dim3(static_cast<unsigned>(a.kv.kv_heads), static_cast<unsigned>(tiles)), dim3(kThreads),
           TileShape<kHeadDim, kRowTiles>::kSharedBytes, a, tiles);
}

template <class T>
void run(const Stream& stream, const Attention& a, int head_dim, const std::int32_t* row_begin) {
    const auto count = [&](int row_tiles) {
        int tiles = 0;
        for (int s = 0; s < a.batch.sequences; ++s)
            tiles += tiles_of(row_begin[s + 1] - row_begin[s], a.group, kWarps * 16 * row_tiles);
        return tiles;
    };
    // Large tiles read shared memory less often, if there are two of them for every multiprocessor.
    const int large = count(2), small = count(1);
    const bool many = std::int64_t{large} * a.kv.kv_heads >= std::int64_t{2} * stream.multiprocessors;
    if (head_dim <= 64) return run<T, 64, 1>(stream, a, small);
    if (head_dim <= 96) return run<T, 96, 1>(stream, a, small);
    if (head_dim <= 128) return many ? run<T, 128, 2>(stream, a, large) : run<T, 128, 1>(stream, a, small);
    return run<T, 256, 1>(stream, a, small);
}

}  // namespace

void attend_row_tiles(const Stream& stream, const Attention& a, const std::int32_t* host_row_begin) {
    if (a.kv.type == KvType::bf16)
        run<bf16>(stream, a, a.kv.head_dim, host_row_begin);
    else
        run<__half>(stream, a, a.kv.head_dim, host_row_begin);
}

}  // namespace narae::kernels::cuda
