#include "kernels/cuda/product.h"

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/pieces.cuh"

namespace narae::kernels::cuda {
namespace {

// ---- float32 throughout -----------------------------------------------------------------------------------------------

constexpr int kTileOut = 64, kTileRows = 32, kTileColumns = 32, kThreads = 256;

// A block computes 64 rows of the weight (4 strips) for 32 rows of activations; a thread two weight rows, 8 apart, for four.
template <Layout kLayout>
__global__ void __launch_bounds__(kThreads)
    exact_kernel(const Segment w, int rows, const float* x, std::int64_t stride, const Ending ending) {
    __shared__ float weights[kTileColumns][kTileOut + 1];
    __shared__ float inputs[kTileColumns][kTileRows + 1];
    const int thread = static_cast<int>(threadIdx.x), first_out = static_cast<int>(blockIdx.x) * kTileOut;
    const int first_row = static_cast<int>(blockIdx.y) * kTileRows;
    const int pair = thread % 32, low = pair / 8 * 16 + pair % 8, row = thread / 32 * 4;
    wait_for_inputs();
    float sum[2][4] = {};
    for (int k = 0; k < w.columns; k += kTileColumns) {
        for (int i = thread; i < kTileOut * kTileColumns; i += kThreads) {
            const int c = i % kTileColumns, r = i / kTileColumns;
            const bool inside = first_out + r < w.strips() * kStripRows && k + c < w.columns;
            weights[c][r] = inside ? element<kLayout>(w, first_out + r, k + c) : 0.0f;
        }
        for (int i = thread; i < kTileRows * kTileColumns; i += kThreads) {
            const int c = i % kTileColumns, r = i / kTileColumns;
            const bool inside = first_row + r < rows && k + c < w.columns;
            inputs[c][r] = inside ? x[(first_row + r) * stride + k + c] : 0.0f;
        }
        __syncthreads();
        // Columns beyond the end are left out: zeros of one side would meet infinities of the other.
        const int count = min(kTileColumns, w.columns - k);
        for (int c = 0; c < count; ++c)
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                sum[0][r] = fmaf(weights[c][low], inputs[c][row + r], sum[0][r]);
                sum[1][r] = fmaf(weights[c][low + 8], inputs[c][row + r], sum[1][r]);
            }
        __syncthreads();
    }
    if (first_out + low >= w.strips() * kStripRows) return;
    for (int r = 0; r < 4; ++r)
        if (first_row + row + r < rows) finish_pair(ending, w, first_row + row + r, first_out + low, sum[0][r], sum[1][r]);
}

// ---- a tile of the weight as 16-bit values ----------------------------------------------------------------------------

// Two codes (their offset taken out) times their scale (plus the minimum), rounded once.
__device__ __forceinline__ std::uint32_t scaled_pair(std::uint32_t codes, float scale, float minimum) {
    const float2 two = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&codes));
    const __nv_bfloat162 pair =
        __floats2bfloat162_rn(__fadd_rn(__fmul_rn(two.x, scale), minimum), __fadd_rn(__fmul_rn(two.y, scale), minimum));
    return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// A warp unpacks one piece of a strip: every lane eight values of two rows, in runs of 16 bytes (q6: two of 8).
template <Layout kLayout>
__global__ void __launch_bounds__(kThreads) unpack_kernel(const Segment w, int begin, int count, int padded, bf16* values) {
    using P = Piece<kLayout>;
    const int pieces = w.units / P::kUnits, lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    const std::int64_t item = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
    const int strip = static_cast<int>(item / pieces), index = static_cast<int>(item % pieces), row = strip * kStripRows + g;
    wait_for_inputs();
    if (row - g >= count) return;
    P piece;
    piece.load(P::source(w, begin / kStripRows + strip, lane), index);
    const auto unit = [&]<int kUnit>() {
        std::uint32_t a[2][4];
        piece.template operand<kUnit, 0>(a[0]);
        piece.template operand<kUnit, 1>(a[1]);
        const float2 scale[2] = {piece.template scale<kUnit, 0>(), piece.template scale<kUnit, 1>()};
        float2 minimum{};
        if constexpr (kLayout == Layout::q4_minimum) minimum = piece.template minimum<kUnit>();
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (row + 8 * h >= count) continue;
            const float offset = h == 0 ? minimum.x : minimum.y;
            std::uint32_t words[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float2& of = scale[i / 2];
                words[i] = scaled_pair(a[i / 2][i % 2 * 2 + h], h == 0 ? of.x : of.y, offset);
            }
            const int column = (index * P::kUnits + kUnit) * kUnitColumns;
            bf16* to = values + std::int64_t{w.natural(begin + row + 8 * h) - begin} * padded + column;
            if constexpr (kLayout == Layout::q6) {
                reinterpret_cast<uint2*>(to)[t] = make_uint2(words[0], words[1]);
                reinterpret_cast<uint2*>(to + kUnitColumns / 2)[t] = make_uint2(words[2], words[3]);
            } else {
                reinterpret_cast<uint4*>(to)[t] = make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    };
    unit.template operator()<0>();
    if constexpr (P::kUnits == 2) unit.template operator()<1>();
}

// Calls run.template operator()<layout>() for the segment's layout.
template <class Run>
void for_layout(Layout layout, Run run) {
    switch (layout) {
        case Layout::f32:
            return run.template operator()<Layout::f32>();
        case Layout::f16:
            return run.template operator()<Layout::f16>();
        case Layout::bf16:
            return run.template operator()<Layout::bf16>();
        case Layout::q4:
            return run.template operator()<Layout::q4>();
        case Layout::q4_minimum:
            return run.template operator()<Layout::q4_minimum>();
        case Layout::q8:
            return run.template operator()<Layout::q8>();
        case Layout::q6:
            return run.template operator()<Layout::q6>();
    }
}

}  // namespace

void exact_product(const Stream& stream, int rows, const float* x, std::int64_t stride, const Segment& w,
                   const Ending& ending) {
    if (rows == 0) return;
    const dim3 grid(blocks_for(std::int64_t{w.strips()} * kStripRows, kTileOut), blocks_for(rows, kTileRows));
    for_layout(w.layout, [&]<Layout kLayout>() {
        launch(stream, "exact_product", exact_kernel<kLayout>, grid, dim3(kThreads), 0, w, rows, x, stride, ending);
    });
}

bool has_few_rows_product(const Segment& w) {
    return w.layout != Layout::f32 && (!is_dense(w.layout) || w.columns % kUnitColumns == 0);
}

int padded_columns(const Segment& w) { return is_dense(w.layout) ? w.columns : w.units * kUnitColumns; }

void few_rows_product(const Stream& stream, const Activations16& in, const Segment& w, const Ending& ending,
                      bool let_next_start) {
    if (in.rows == 0) return;
    require(in.rows <= kMostFewRows && has_few_rows_product(w), "few_rows_product: so many rows, or this layout");
    for_layout(w.layout, [&]<Layout kLayout>() {
        if constexpr (kLayout != Layout::f32) {
            if (in.rows == 1)
                launch_one_row<kLayout>(stream, in, w, ending, let_next_start);
            else
                launch_few_rows<kLayout>(stream, in, w, ending, let_next_start);
        }
    });
}

void unpack_rows(const Stream& stream, const Segment& w, int begin, int count, void* values) {
    require(!is_dense(w.layout) && begin % kStripRows == 0, "unpack_rows: a dense layout, or not from a strip's first row");
    require(w.head_rows == 0 || begin % w.heads.head_dim == 0, "unpack_rows: not from a head's first row");
    const int padded = padded_columns(w);
    for_layout(w.layout, [&]<Layout kLayout>() {
        if constexpr (!is_dense(kLayout)) {
            const std::int64_t pieces = blocks_for(count, kStripRows) * std::int64_t{w.units / Piece<kLayout>::kUnits};
            launch(stream, "unpack_rows", unpack_kernel<kLayout>, dim3(blocks_for(pieces, kThreads / 32)), dim3(kThreads), 0, w,
                   begin, count, padded, static_cast<bf16*>(values));
        }
    });
}

}  // namespace narae::kernels::cuda
