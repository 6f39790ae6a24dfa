#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/device_math.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float any_element(const Segment& w, int row, int column) {
    switch (w.layout) {
        case Layout::f32:
            return element<Layout::f32>(w, row, column);
        case Layout::f16:
            return element<Layout::f16>(w, row, column);
        case Layout::bf16:
            return element<Layout::bf16>(w, row, column);
        case Layout::q4:
            return element<Layout::q4>(w, row, column);
        case Layout::q4_minimum:
            return element<Layout::q4_minimum>(w, row, column);
        case Layout::q8:
            return element<Layout::q8>(w, row, column);
        case Layout::q6:
            return element<Layout::q6>(w, row, column);
    }
    return 0.0f;
}

// The sum of a value over the block, for all its threads.
__device__ float block_sum(float x) {
    __shared__ float partial[kThreads / 32];
    x = warp_sum(x);
    __syncthreads();  // what an earlier call left may still be read
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < kThreads / 32; ++i) total += partial[i];
    return total;
}

__global__ void embed_kernel(const BatchView batch, const Segment table, float scale, const Segment positions,
                             int position_offset, const std::int32_t* slots, float* x, const NextInput next) {
    const int row = static_cast<int>(blockIdx.y), column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const bool inside = column < table.columns;
    wait_for_inputs();
    float value = 0.0f;
    if (inside) {
        std::int32_t id = batch.ids[row];
        if (id < 0) id = slots[-1 - id];
        if (id < 0 || id >= table.rows) id = 0;
        value = any_element(table, id, column) * scale;
        if (positions.codes) {
            const int position = min(max(batch.positions[row] + position_offset, 0), positions.rows - 1);
            value += any_element(positions, position, column);
        }
        x[std::int64_t{row} * table.columns + column] = value;
    }
    if (!next.x) return;
    // The sum of a block goes where the first of its strips has its own; the others' are zero.
    float* squares = next.squares + std::int64_t{row} * next.squares_stride;
    const float total = block_sum(value * value);
    constexpr int kStrips = kThreads / kStripRows;
    const int strip = static_cast<int>(blockIdx.x) * kStrips + static_cast<int>(threadIdx.x);
    if (threadIdx.x < kStrips && strip < next.squares_stride) squares[strip] = threadIdx.x == 0 ? total : 0.0f;
    if (!inside) return;
    if (next.norm_weight) value *= next.norm_weight[column];
    static_cast<bf16*>(next.x)[row * next.stride + column] = from_float<bf16>(value);
}

__global__ void rope_table_kernel(const BatchView batch, const float* inverse_frequencies, int pairs, float scaling,
                                  float* table) {
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    wait_for_inputs();
    if (index >= batch.rows * pairs) return;
    const int row = index / pairs, pair = index % pairs;
    const float angle = __fmul_rn(static_cast<float>(batch.positions[row]), inverse_frequencies[pair]);
    float* out = table + std::int64_t{row} * 2 * pairs;
    out[pair] = cosf(angle) * scaling;
    out[pairs + pair] = sinf(angle) * scaling;
}

struct NormView {
    NormKind kind;
    float eps;
    const float *weight, *bias;
};

// norm(x) of one row, element by element: y = (x - mean) * factor * weight + bias.
struct RowNorm {
    float mean = 0.0f, factor = 1.0f;
    __device__ float apply(const NormView& n, float x, std::int64_t c) const {
        if (n.kind == NormKind::none) return x;
        float y = (x - mean) * factor;
        if (n.weight) y *= n.weight[c];
        return n.bias ? y + n.bias[c] : y;
    }
};

template <class T>
__device__ RowNorm norm_of_row(const NormView& n, const T* x, std::int64_t columns) {
    RowNorm row;
    if (n.kind == NormKind::none) return row;
    const float count = static_cast<float>(columns);
    if (n.kind == NormKind::layer) {
        float sum = 0.0f;
        for (std::int64_t c = threadIdx.x; c < columns; c += kThreads) sum += to_float(x[c]);
        row.mean = block_sum(sum) / count;
    }
    float squares = 0.0f;
    for (std::int64_t c = threadIdx.x; c < columns; c += kThreads) {
        const float d = to_float(x[c]) - row.mean;
        squares = fmaf(d, d, squares);
    }
    row.factor = 1.0f / sqrtf(block_sum(squares) / count + n.eps);
    return row;
}

template <class T, class T16>
__global__ void prepare_kernel(std::int64_t columns, const T* x, std::int64_t stride, const std::int32_t* index, NormView n,
                               int padded, T16* y) {
    const std::int64_t row = blockIdx.x;
    wait_for_inputs();
    const T* from = x + (index ? index[row] : row) * stride;
    const RowNorm of_row = norm_of_row(n, from, columns);
    T16* to = y + row * padded;
    for (std::int64_t c = threadIdx.x; c < padded; c += kThreads)
        to[c] = from_float<T16>(c < columns ? of_row.apply(n, to_float(from[c]), c) : 0.0f);
}

// The same for whole pieces of eight columns, with the row in registers: one pass over memory.
constexpr int kWideThreads = 512, kPiece = 8, kMostPieces = 4;  // of each thread

template <class T>
__device__ void load_piece(const T* from, float (&v)[kPiece]) {
    const auto* words = reinterpret_cast<const uint4*>(from);
    constexpr int kWords = static_cast<int>(sizeof(T)) * kPiece / 16;
    uint4 loaded[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) loaded[i] = words[i];
    const T* values = reinterpret_cast<const T*>(loaded);
#pragma unroll
    for (int i = 0; i < kPiece; ++i) v[i] = to_float(values[i]);
}

// The sum over a block of kWideThreads, for all its threads. `partial`: one place a warp, not in use.
__device__ float wide_sum(float x, float* partial) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kWideThreads / 32; ++i) total += partial[i];
    return total;
}

template <class T, class T16>
__global__ void __launch_bounds__(kWideThreads) prepare_wide_kernel(int columns, const T* x, std::int64_t stride,
                                                                    const std::int32_t* index, NormView n, int padded, T16* y) {
    __shared__ float partial[2][kWideThreads / 32];
    const std::int64_t row = blockIdx.x;
    wait_for_inputs();
    const T* from = x + (index ? index[row] : row) * stride;
    float v[kMostPieces][kPiece] = {};
    const auto column_of = [&](int p) { return (p * kWideThreads + static_cast<int>(threadIdx.x)) * kPiece; };
#pragma unroll
    for (int p = 0; p < kMostPieces; ++p)
        if (column_of(p) < columns) load_piece(from + column_of(p), v[p]);
    RowNorm of_row;
    const float count = static_cast<float>(columns);
    if (n.kind == NormKind::layer) {
        float sum = 0.0f;
#pragma unroll
        for (int p = 0; p < kMostPieces; ++p)
#pragma unroll
            for (int i = 0; i < kPiece; ++i) sum += v[p][i];
        of_row.mean = wide_sum(sum, partial[0]) / count;
    }
    if (n.kind != NormKind::none) {
        float squares = 0.0f;
#pragma unroll
        for (int p = 0; p < kMostPieces; ++p)
            if (column_of(p) < columns)
#pragma unroll
                for (int i = 0; i < kPiece; ++i) squares = fmaf(v[p][i] - of_row.mean, v[p][i] - of_row.mean, squares);
        of_row.factor = 1.0f / sqrtf(wide_sum(squares, partial[1]) / count + n.eps);
    }
#pragma unroll
    for (int p = 0; p < kMostPieces; ++p) {
        const int column = column_of(p);
        if (column >= padded) continue;
        T16 out[kPiece];
#pragma unroll
        for (int i = 0; i < kPiece; ++i)
            out[i] = from_float<T16>(column < columns ? of_row.apply(n, v[p][i], column + i) : 0.0f);
        *reinterpret_cast<uint4*>(y + row * padded + column) = *reinterpret_cast<const uint4*>(out);
    }
}

__global__ void activate_kernel(std::int64_t count, const float* gate, const float* up, Activation activation, float* y) {
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    wait_for_inputs();
    if (i >= count) return;
    const float value = activate_value(activation, gate[i]);
    y[i] = up ? value * up[i] : value;
}

__global__ void gate_apart_kernel(std::int64_t columns, const float* both, Activation activation, void* y, bool as_bf16) {
    const std::int64_t c = std::int64_t{blockIdx.x} * kThreads + threadIdx.x, row = blockIdx.y;
    wait_for_inputs();
    if (c >= columns) return;
    const float* gate = both + row * 2 * columns;
    store_value(y, as_bf16, row * columns + c, activate_value(activation, gate[c]) * gate[columns + c]);
}

__global__ void add_kernel(std::int64_t count, float scale, const float* x, float* residual) {
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    wait_for_inputs();
    if (i < count) residual[i] = fmaf(scale, x[i], residual[i]);
}

__global__ void copy_rows_kernel(std::int64_t columns, const float* from, std::int64_t from_stride, float* to,
                                 std::int64_t to_stride) {
    const std::int64_t c = std::int64_t{blockIdx.x} * kThreads + threadIdx.x, row = blockIdx.y;
    wait_for_inputs();
    if (c < columns) to[row * to_stride + c] = from[row * from_stride + c];
}

template <class T>
__global__ void end_kernel(const T* product, std::int64_t stride, const Segment w, const Ending ending) {
    const int pair = static_cast<int>(blockIdx.x * kThreads + threadIdx.x), row = static_cast<int>(blockIdx.y);
    const int low = pair / 8 * 16 + pair % 8;
    wait_for_inputs();
    if (low >= w.rows) return;
    const T* from = product + row * stride;
    finish_pair(ending, w, row, low, to_float(from[low]), low + 8 < w.rows ? to_float(from[low + 8]) : 0.0f);
}

// The gate of eight columns at once: strips hold eight gates, then their eight ups.
__global__ void gate_wide_kernel(const bf16* product, std::int64_t stride, int strips, Activation activation, bf16* y,
                                 std::int64_t y_stride) {
    const int strip = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const std::int64_t row = blockIdx.y;
    wait_for_inputs();
    if (strip >= strips) return;
    float gate[kPiece], up[kPiece];
    load_piece(product + row * stride + strip * kStripRows, gate);
    load_piece(product + row * stride + strip * kStripRows + kPiece, up);
    bf16 out[kPiece];
#pragma unroll
    for (int i = 0; i < kPiece; ++i) out[i] = __float2bfloat16_rn(activate_value(activation, gate[i]) * up[i]);
    *reinterpret_cast<uint4*>(y + row * y_stride + strip * kPiece) = *reinterpret_cast<const uint4*>(out);
}

NormView view_of(const Norm& norm) {
    return {norm.kind, norm.eps, norm.kind == NormKind::none ? nullptr : norm.weight.as<const float>(),
            norm.kind == NormKind::none ? nullptr : norm.bias.as<const float>()};
}

dim3 grid_of(std::int64_t columns, int rows) { return dim3(blocks_for(columns, kThreads), static_cast<unsigned>(rows)); }

}  // namespace

void embed(const Stream& stream, const BatchView& batch, const Segment& table, float scale, const Segment* positions,
           int position_offset, const std::int32_t* slots, float* x, const NextInput& next) {
    launch(stream, "embed", embed_kernel, grid_of(table.columns, batch.rows), dim3(kThreads), 0, batch, table, scale,
           positions ? *positions : Segment{}, position_offset, slots, x, next);
}

void rope_table(const Stream& stream, const BatchView& batch, const float* inverse_frequencies, int pairs, float scaling,
                float* table) {
    launch(stream, "rope_table", rope_table_kernel, dim3(blocks_for(std::int64_t{batch.rows} * pairs, kThreads)),
           dim3(kThreads), 0, batch, inverse_frequencies, pairs, scaling, table);
}

void norm_rows(const Stream& stream, int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, float* y) {
    const auto run = [&]<class T>(T) {
        launch(stream, "norm", prepare_kernel<T, float>, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, x.columns,
               static_cast<const T*>(x.data), x.stride, index, view_of(norm), static_cast<int>(x.columns), y);
    };
    if (x.dtype == DType::bf16)
        run(bf16{});
    else
        run(float{});
}

void prepare_rows(const Stream& stream, int rows, const Matrix& x, const std::int32_t* index, const Norm& norm, int padded,
                  bool float16, void* y) {
    const auto aligned = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; };
    const bool wide = x.columns % kPiece == 0 && x.stride % kPiece == 0 && padded % kPiece == 0 && aligned(x.data) &&
                      padded <= kMostPieces * kWideThreads * kPiece;
    const auto run = [&]<class T, class T16>(T, T16) {
        if (wide)
            return launch(stream, "prepare_rows", prepare_wide_kernel<T, T16>, dim3(static_cast<unsigned>(rows)),
                          dim3(kWideThreads), 0, static_cast<int>(x.columns), static_cast<const T*>(x.data), x.stride, index,
                          view_of(norm), padded, static_cast<T16*>(y));
        launch(stream, "prepare_rows", prepare_kernel<T, T16>, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, x.columns,
               static_cast<const T*>(x.data), x.stride, index, view_of(norm), padded, static_cast<T16*>(y));
    };
    const bool from_bf16 = x.dtype == DType::bf16;
    if (from_bf16 && float16) run(bf16{}, __half{});
    if (from_bf16 && !float16) run(bf16{}, bf16{});
    if (!from_bf16 && float16) run(float{}, __half{});
    if (!from_bf16 && !float16) run(float{}, bf16{});
}

void activate(const Stream& stream, std::int64_t count, const float* gate, const float* up, Activation activation, float* y) {
    launch(stream, "activate", activate_kernel, dim3(blocks_for(count, kThreads)), dim3(kThreads), 0, count, gate, up,
           activation, y);
}

void gate_apart(const Stream& stream, int rows, std::int64_t columns, const float* both, Activation activation,
                const Matrix& y) {
    launch(stream, "gate_apart", gate_apart_kernel, grid_of(columns, rows), dim3(kThreads), 0, columns, both, activation,
           y.data, y.dtype == DType::bf16);
}

void add(const Stream& stream, std::int64_t count, float scale, const float* x, float* residual) {
    launch(stream, "add", add_kernel, dim3(blocks_for(count, kThreads)), dim3(kThreads), 0, count, scale, x, residual);
}

void copy_rows(const Stream& stream, int rows, std::int64_t columns, const float* from, std::int64_t from_stride, float* to,
               std::int64_t to_stride) {
    launch(stream, "copy_rows", copy_rows_kernel, grid_of(columns, rows), dim3(kThreads), 0, columns, from, from_stride, to,
           to_stride);
}

void end_product(const Stream& stream, int rows, const Matrix& product, const Segment& w, const Ending& ending) {
    if (ending.kind == Ending::Kind::gate && product.dtype == DType::bf16 && ending.bf16 && !ending.bias &&
        w.part_rows % kPiece == 0 && product.stride % kPiece == 0 && ending.stride % kPiece == 0)
        return launch(stream, "gate", gate_wide_kernel, grid_of(w.strips(), rows), dim3(kThreads), 0,
                      static_cast<const bf16*>(product.data), product.stride, w.strips(), ending.activation,
                      static_cast<bf16*>(ending.y), ending.stride);
    const dim3 grid = grid_of(std::int64_t{w.strips()} * 8, rows);
    if (product.dtype == DType::bf16)
        launch(stream, "end_product", end_kernel<bf16>, grid, dim3(kThreads), 0, static_cast<const bf16*>(product.data),
               product.stride, w, ending);
    else
        launch(stream, "end_product", end_kernel<float>, grid, dim3(kThreads), 0, static_cast<const float*>(product.data),
               product.stride, w, ending);
}

}  // namespace narae::kernels::cuda
