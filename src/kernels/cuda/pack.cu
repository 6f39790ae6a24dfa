#include "kernels/cuda/pack.h"

#include "formats/ggml_blocks.h"
#include "kernels/cuda/launch.cuh"

namespace narae::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Which source rows a chunk holds, and where they go.
struct Chunk {
    const std::byte* blocks = nullptr;
    int begin = 0, count = 0;
    StripPlace place;

    // The row of the part that becomes row `row` of the strips; -1: not of this part, or not in this chunk.
    __device__ int source(int row) const {
        int r = row - static_cast<int>(place.first);
        if (place.interleaved) {
            if (row % 16 / 8 * 8 != place.first) return -1;
            r = row / 16 * 8 + row % 8;
        } else if (r >= 0) {
            r = place.heads.row(r);
        }
        return r >= begin && r < begin + count ? r - begin : -1;
    }
};

template <class T>
__device__ T unaligned(const std::byte* at) {
    T value;
    auto* bytes = reinterpret_cast<std::byte*>(&value);
    for (unsigned i = 0; i < sizeof(T); ++i) bytes[i] = at[i];
    return value;
}
__device__ unsigned byte_at(const std::byte* at, int i) { return static_cast<unsigned>(at[i]); }

// A thread packs what one lane holds of one unit: two rows, eight columns each.
template <Layout kLayout>
__global__ void pack_kernel(const Chunk chunk, const Segment w, int first_strip, std::int64_t items) {
    const std::int64_t item = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    wait_for_inputs();
    if (item >= items) return;
    const int lane = static_cast<int>(item % 32), g = lane / 4, t = lane % 4;
    const int unit = static_cast<int>(item / 32 % w.units), strip = first_strip + static_cast<int>(item / 32 / w.units);
    const int column = unit * kUnitColumns;
    if (column >= w.columns) return;
    auto* codes = const_cast<std::uint32_t*>(reinterpret_cast<const std::uint32_t*>(w.codes));
    auto* scales = const_cast<std::byte*>(w.scales);
    for (int h = 0; h < 2; ++h) {
        const int row = chunk.source(strip * kStripRows + 8 * h + g);
        if (row < 0) continue;
        if constexpr (kLayout == Layout::q4 || kLayout == Layout::q4_minimum) {
            constexpr int kHeader = kLayout == Layout::q4 ? 2 : 4;
            const std::byte* block = chunk.blocks + (std::int64_t{row} * (w.columns / 32) + unit) * (kHeader + 16);
            for (int j = 0; j < 2; ++j) {
                std::uint32_t bits = 0;
                for (int e = 0; e < 4; ++e) {
                    const int c = 8 * t + 4 * j + e;
                    const unsigned code = byte_at(block + kHeader, c % 16) >> (c < 16 ? 0 : 4) & 15u;
                    bits |= code << (4 * (2 * (e / 2) + h + 4 * (e % 2)));
                }
                codes[q4_word(w.units, strip, unit, lane, j)] |= bits;
            }
            if (t == 0) {
                const std::int64_t at = q4_scale(w.units, strip, unit, g, h);
                reinterpret_cast<std::uint16_t*>(scales)[at] = unaligned<std::uint16_t>(block);
                if constexpr (kLayout == Layout::q4_minimum)
                    const_cast<std::uint16_t*>(reinterpret_cast<const std::uint16_t*>(w.minimums))[at] =
                        unaligned<std::uint16_t>(block + 2);
            }
        } else if constexpr (kLayout == Layout::q8) {
            const std::byte* block = chunk.blocks + (std::int64_t{row} * (w.columns / 32) + unit) * 34;
            for (int j = 0; j < 2; ++j)
                codes[q8_word(w.units, strip, unit, lane, j, h)] = unaligned<std::uint32_t>(block + 2 + 8 * t + 4 * j);
            if (t == 0)
                reinterpret_cast<std::uint16_t*>(scales)[q8_scale(w.units, strip, unit, g, h)] =
                    unaligned<std::uint16_t>(block);
        } else if constexpr (kLayout == Layout::q6) {
            const std::byte* block = chunk.blocks + (std::int64_t{row} * (w.columns / 256) + unit / 8) * 210;
            std::uint32_t high = 0;
            for (int j = 0; j < 2; ++j) {
                std::uint32_t bits = 0;
                for (int e = 0; e < 4; ++e) {
                    const int at = unit % 8 * 32 + 16 * j + 4 * t + e, half = at / 128, k = at % 128 / 32, byte = at % 32;
                    const int i = 2 * (e / 2) + h;
                    bits |= (byte_at(block, 64 * half + 32 * (k % 2) + byte) >> (4 * (k / 2)) & 15u) << (4 * (i + 4 * (e % 2)));
                    high |= (byte_at(block, 128 + 32 * half + byte) >> (2 * k) & 3u) << (2 * (i + 4 * j) + 16 * (e % 2));
                }
                codes[q4_word(w.units, strip, unit, lane, j)] |= bits;
                if (t == 0) scales[q6_scale(w.units, strip, unit, g, j, h)] = block[192 + unit % 8 * 2 + j];
            }
            const_cast<std::uint32_t*>(
                reinterpret_cast<const std::uint32_t*>(w.high))[q6_high_word(w.units, strip, unit, lane)] |= high;
            if (t == 0 && unit % 8 == 0)
                const_cast<std::uint16_t*>(reinterpret_cast<const std::uint16_t*>(
                    w.block_scales))[q6_block_scale(w.units, strip, unit, g, h)] = unaligned<std::uint16_t>(block + 208);
        }
    }
}

template <class T>
__global__ void pack_floats_kernel(const float* values, int begin, int count, StripPlace place, int columns, T* to) {
    const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    wait_for_inputs();
    if (index >= std::int64_t{count} * columns) return;
    const std::int64_t row = place.row(begin + index / columns);
    to[row * columns + index % columns] = from_float<T>(values[index]);
}

}  // namespace

void pack_blocks(const Stream& stream, const std::byte* blocks, int begin, int count, StripPlace place, const Segment& to) {
    if (count == 0) return;
    StripPlace whole = place;  // chunks hold whole heads: where their strips begin and end does not depend on the order
    whole.heads = {};
    const int first = static_cast<int>(whole.row(begin)) / kStripRows;
    const int last = static_cast<int>(whole.row(begin + count - 1)) / kStripRows;
    const std::int64_t items = std::int64_t{last - first + 1} * to.units * 32;
    const Chunk chunk{blocks, begin, count, place};
    const auto run = [&](auto* kernel) {
        launch(stream, "pack_blocks", kernel, dim3(blocks_for(items, kThreads)), dim3(kThreads), 0, chunk, to, first, items);
    };
    switch (to.layout) {
        case Layout::q4:
            return run(pack_kernel<Layout::q4>);
        case Layout::q4_minimum:
            return run(pack_kernel<Layout::q4_minimum>);
        case Layout::q8:
            return run(pack_kernel<Layout::q8>);
        case Layout::q6:
            return run(pack_kernel<Layout::q6>);
        default:
            require(false, "pack_blocks: a dense layout");
    }
}

void pack_floats(const Stream& stream, const float* values, int begin, int count, StripPlace place, const Segment& to) {
    const auto run = [&]<class T>(T) {
        launch(stream, "pack_floats", pack_floats_kernel<T>, dim3(blocks_for(std::int64_t{count} * to.columns, kThreads)),
               dim3(kThreads), 0, values, begin, count, place, to.columns,
               const_cast<T*>(reinterpret_cast<const T*>(to.codes)));
    };
    if (to.layout == Layout::f32) run(float{});
    if (to.layout == Layout::bf16) run(bf16{});
    if (to.layout == Layout::f16) run(__half{});
}

}  // namespace narae::kernels::cuda
