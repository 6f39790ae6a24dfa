// y = W x for up to 64 rows of activations: the weights are the A operand of mma.m16n8k16, read by 16-byte loads straight from
// global memory into registers, many small blocks, no shared-memory ring. The activations of eight rows are the B operand.
// A block has STRIPS strips of 16 rows over all columns; its warps share the columns and add their sums in a fixed order.
//
// Per unit of 32 columns a lane needs the activations of its columns (see formats/strips.h) in memory order, for row lane / 4:
// 16 bytes. With one row each warp brings those of its columns into shared memory, for itself; with more rows they come from
// global memory. Where a norm is still to be finished, its factor 1 / rms is one number of a row and multiplies the sums.
#pragma once

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/endings.cuh"
#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/pieces.cuh"
#include "kernels/cuda/tensor_cores.cuh"

namespace narae::kernels::cuda {

// The activations of one unit for this lane: word pairs b[2 j], b[2 j + 1] of mma j. `x`: the unit's first column of the lane's
// row.
template <Layout kLayout, bool kShared>
__device__ __forceinline__ void load_activations(const std::byte* x, int t, std::uint32_t (&b)[4]) {
    if constexpr (kLayout == Layout::q6) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const auto* at = reinterpret_cast<const uint2*>(x) + 4 * j + t;
            const uint2 v = kShared ? *at : __ldcg(at);
            b[2 * j] = v.x;
            b[2 * j + 1] = v.y;
        }
    } else {
        const auto* at = reinterpret_cast<const uint4*>(x) + t;
        const uint4 v = kShared ? *at : __ldcg(at);
        b[0] = v.x;
        b[1] = v.y;
        b[2] = v.z;
        b[3] = v.w;
    }
}

// One unit of STRIPS strips against TILES times eight rows.
template <Layout kLayout, int STRIPS, int TILES, int kUnit>
__device__ __forceinline__ void multiply_unit(const Piece<kLayout> (&piece)[STRIPS], const std::uint32_t (&b)[TILES][4],
                                              float (&sum)[STRIPS][TILES][4]) {
    using T16 = typename Half16<kLayout>::type;
    using P = Piece<kLayout>;
    float total[TILES][4];  // of the unit's activations, where minimums multiply them
    if constexpr (kLayout == Layout::q4_minimum) {
        constexpr std::uint32_t kOnes[4] = {0x3F803F80u, 0x3F803F80u, 0x3F803F80u, 0x3F803F80u};
#pragma unroll
        for (int n = 0; n < TILES; ++n) {
#pragma unroll
            for (int c = 0; c < 4; ++c) total[n][c] = 0.0f;
            multiply<bf16>(total[n], kOnes, b[n][0], b[n][1]);
            multiply<bf16>(total[n], kOnes, b[n][2], b[n][3]);
        }
    }
#pragma unroll
    for (int s = 0; s < STRIPS; ++s) {
        std::uint32_t a[2][4];
        piece[s].template operand<kUnit, 0>(a[0]);
        piece[s].template operand<kUnit, 1>(a[1]);
#pragma unroll
        for (int n = 0; n < TILES; ++n) {
            if constexpr (!P::kScaled) {
                multiply<T16>(sum[s][n], a[0], b[n][0], b[n][1]);
                multiply<T16>(sum[s][n], a[1], b[n][2], b[n][3]);
            } else {
                float c[2][4] = {};
                constexpr int kSums = kLayout == Layout::q6 ? 2 : 1;  // with scales of their own
                multiply<bf16>(c[0], a[0], b[n][0], b[n][1]);
                multiply<bf16>(c[kSums - 1], a[1], b[n][2], b[n][3]);
#pragma unroll
                for (int r = 0; r < kSums; ++r) {
                    const float2 scale = r == 0 ? piece[s].template scale<kUnit, 0>() : piece[s].template scale<kUnit, 1>();
                    sum[s][n][0] += scale.x * c[r][0];
                    sum[s][n][1] += scale.x * c[r][1];
                    sum[s][n][2] += scale.y * c[r][2];
                    sum[s][n][3] += scale.y * c[r][3];
                }
                if constexpr (kLayout == Layout::q4_minimum) {
                    const float2 minimum = piece[s].template minimum<kUnit>();
                    sum[s][n][0] += minimum.x * total[n][0];
                    sum[s][n][1] += minimum.x * total[n][1];
                    sum[s][n][2] += minimum.y * total[n][2];
                    sum[s][n][3] += minimum.y * total[n][3];
                }
            }
        }
    }
}

// A warp brings 16-byte words [begin, end) of its row to shared memory, at the same places.
__device__ __forceinline__ void stage_words(const uint4* from, uint4* to, int begin, int end, int lane) {
    constexpr int kAtOnce = 2;  // loads of a lane that are under way: 512 columns of the warp
    for (int base = begin + lane; base < end; base += 32 * kAtOnce) {
        uint4 words[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i)
            if (base + 32 * i < end) words[i] = __ldcg(from + base + 32 * i);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i)
            if (base + 32 * i < end) to[base + 32 * i] = words[i];
    }
    __syncwarp();
}

// 1 / rms of one row, from the sums of squares of its parts; for all lanes of the warp.
__device__ __forceinline__ float norm_factor(const Activations16& in, int row, int columns, int lane) {
    const auto* squares = reinterpret_cast<const float4*>(in.squares + std::int64_t{row} * in.squares_stride);
    float total = 0.0f;
#pragma unroll 2
    for (int i = lane; i < in.squares_stride / 4; i += 32) {
        const float4 four = __ldcg(squares + i);
        total += (four.x + four.y) + (four.z + four.w);
    }
    return rsqrtf(warp_sum(total) / static_cast<float>(columns) + in.eps);
}

template <Layout kLayout, int STRIPS, int TILES, bool kOneRow>
__global__ void __launch_bounds__(kOneRow ? Piece<kLayout>::kOneRowWarps * 32 : 256,
                                  kOneRow ? Piece<kLayout>::kOneRowBlocks : 2)
    few_rows_kernel(const Segment w, const Activations16 in, const Ending ending, const bool early) {
    using P = Piece<kLayout>;
    constexpr int kWanted = kOneRow ? P::kOneRowDepth : P::kDepth / (STRIPS * TILES);
    constexpr int kDepth = kWanted > 1 ? kWanted : 1;
    constexpr int kColumns = kOneRow ? 1 : 8 * TILES;
    extern __shared__ __align__(16) std::byte shared[];
    const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    const int strip = static_cast<int>(blockIdx.x) * STRIPS, last_strip = w.strips() - 1;
    const int pieces = w.units / P::kUnits, begin = pieces * warp / warps, end = pieces * (warp + 1) / warps;
    if (early) let_next_start();

    typename P::Source source[STRIPS];
#pragma unroll
    for (int s = 0; s < STRIPS; ++s) source[s] = P::source(w, min(strip + s, last_strip), lane);
    P piece[kDepth][STRIPS];
#pragma unroll
    for (int d = 0; d < kDepth; ++d)
        if (begin + d < end)
#pragma unroll
            for (int s = 0; s < STRIPS; ++s) piece[d][s].load(source[s], begin + d);

    wait_for_inputs();
    const int padded = w.units * kUnitColumns;
    float* sums = reinterpret_cast<float*>(shared);  // [warps][STRIPS * 16][kColumns]
    __shared__ float factors[kColumns];
    if (in.squares) {
        for (int row = warp; row < in.rows; row += warps) {
            const float factor = norm_factor(in, row, w.columns, lane);
            if (lane == 0) factors[row] = factor;
        }
    }
    if constexpr (kOneRow) {
        sums += padded / 2;
        constexpr int kWords = P::kUnits * kUnitColumns / 8;  // of a piece
        stage_words(static_cast<const uint4*>(in.x), reinterpret_cast<uint4*>(shared), begin * kWords, end * kWords, lane);
    }

    float sum[STRIPS][TILES][4] = {};
    for (int base = begin; base < end; base += kDepth) {
#pragma unroll
        for (int d = 0; d < kDepth; ++d) {
            if (base + d >= end) break;
            const auto unit_of_all = [&]<int kUnit>() {
                const std::int64_t column = (std::int64_t{base + d} * P::kUnits + kUnit) * kUnitColumns;
                std::uint32_t b[TILES][4];
#pragma unroll
                for (int n = 0; n < TILES; ++n) {
                    const bool mine = kOneRow ? g == 0 : n * 8 + g < in.rows;
                    b[n][0] = b[n][1] = b[n][2] = b[n][3] = 0;
                    if (!mine) continue;
                    if constexpr (kOneRow)
                        load_activations<kLayout, true>(shared + column * 2, t, b[n]);
                    else
                        load_activations<kLayout, false>(
                            static_cast<const std::byte*>(in.x) + ((n * 8 + g) * in.stride + column) * 2, t, b[n]);
                }
                multiply_unit<kLayout, STRIPS, TILES, kUnit>(piece[d], b, sum);
            };
            unit_of_all.template operator()<0>();
            if constexpr (P::kUnits == 2) unit_of_all.template operator()<1>();
            if (base + d + kDepth < end)
#pragma unroll
                for (int s = 0; s < STRIPS; ++s) piece[d][s].load(source[s], base + d + kDepth);
        }
    }

#pragma unroll
    for (int s = 0; s < STRIPS; ++s)
#pragma unroll
        for (int n = 0; n < TILES; ++n) {
            float* of_warp = sums + (warp * STRIPS + s) * kStripRows * kColumns;
            if constexpr (kOneRow) {
                if (t == 0) {
                    of_warp[g] = sum[s][n][0];
                    of_warp[g + 8] = sum[s][n][2];
                }
            } else {
                const int column = n * 8 + 2 * t;
                of_warp[g * kColumns + column] = sum[s][n][0];
                of_warp[g * kColumns + column + 1] = sum[s][n][1];
                of_warp[(g + 8) * kColumns + column] = sum[s][n][2];
                of_warp[(g + 8) * kColumns + column + 1] = sum[s][n][3];
            }
        }
    __syncthreads();
    for (int item = static_cast<int>(threadIdx.x); item < STRIPS * 8 * kColumns; item += static_cast<int>(blockDim.x)) {
        const int pair = item % (STRIPS * 8), column = item / (STRIPS * 8), s = pair / 8, low = pair % 8;
        if (strip + s > last_strip || column >= in.rows) continue;
        float first = 0.0f, second = 0.0f;
        for (int i = 0; i < warps; ++i) {
            const float* of_warp = sums + (i * STRIPS + s) * kStripRows * kColumns + column;
            first += of_warp[low * kColumns];
            second += of_warp[(low + 8) * kColumns];
        }
        if (in.squares) {
            first *= factors[column];
            second *= factors[column];
        }
        const int row = (strip + s) * kStripRows + low;
        if (ending.kind == Ending::Kind::heads)
            finish_heads(ending, w, column, row, first, second);
        else if (ending.next.x)
            finish_residual(ending, w, column, row, first, second);
        else
            finish_pair(ending, w, column, row, first, second);
    }
}

// ---- launching ----------------------------------------------------------------------------------------------------------

template <Layout kLayout>
void launch_one_row(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early) {
    // About 16 units (512 columns) a warp, in as many equal rounds as that takes.
    constexpr int kMost = Piece<kLayout>::kOneRowWarps;
    const int rounds = (w.units + 16 * kMost - 1) / (16 * kMost);
    const int warps = std::max(1, std::min(kMost, (w.units + 16 * rounds - 1) / (16 * rounds)));
    const std::size_t staged = static_cast<std::size_t>(w.units) * kUnitColumns * 2;
    const std::size_t shared = staged + static_cast<std::size_t>(warps) * kStripRows * sizeof(float);
    launch(stream, "one_row_product", few_rows_kernel<kLayout, 1, 1, true>, dim3(static_cast<unsigned>(w.strips())),
           dim3(static_cast<unsigned>(warps * 32)), shared, w, in, ending, early);
}

template <Layout kLayout, int STRIPS, int TILES>
void launch_tiles(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early) {
    const int warps = std::max(1, std::min(8, w.units / Piece<kLayout>::kUnits));
    const std::size_t shared = static_cast<std::size_t>(warps) * STRIPS * kStripRows * 8 * TILES * sizeof(float);
    launch(stream, "few_rows_product", few_rows_kernel<kLayout, STRIPS, TILES, false>, dim3(blocks_for(w.strips(), STRIPS)),
           dim3(static_cast<unsigned>(warps * 32)), shared, w, in, ending, early);
}

// Several strips a block share the activations that it reads, where enough blocks remain to fill the card.
template <Layout kLayout>
void launch_few_rows(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending, bool early) {
    const bool many = w.strips() >= 4 * 2 * stream.multiprocessors;
    if (in.rows <= 8) {
        if (many)
            launch_tiles<kLayout, 4, 1>(stream, in, w, ending, early);
        else
            launch_tiles<kLayout, 1, 1>(stream, in, w, ending, early);
    } else if (in.rows <= 16) {
        launch_tiles<kLayout, 2, 2>(stream, in, w, ending, early);
    } else if (in.rows <= 32) {
        launch_tiles<kLayout, 2, 4>(stream, in, w, ending, early);
    } else {
        launch_tiles<kLayout, 1, 8>(stream, in, w, ending, early);
    }
}

}  // namespace narae::kernels::cuda
