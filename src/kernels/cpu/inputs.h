// Rows of activations into the forms that products read (tiles.h): norm, then int8 with block scales
// (kernels/activation_rounding.h says the rule; this is the same rule in vectors), or f32, or bf16 pairs.
#pragma once

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/tiles.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Inputs {
    using F = typename Isa::F;
    using I = typename Isa::I;

    static void prepare(const InputTask& task, int begin, int end, std::byte* const* forms, float* row) {
        const bool codes = task.wanted[kIntForm] || task.wanted[kHalfForm];
        for (int r = begin; r < end; ++r) {
            const float* x = task.x + (task.index ? task.index[r] : r) * task.in;
            if (task.norm.rule != NormRule::none) {
                Elementwise<Isa>::norm(task.norm, task.in, x, row);
                x = row;
            }
            if (codes) {
                const Tiles tiles = Tiles::of(task.rows, Isa::kIntTokens);
                const int tile = tiles.tile_of(r);
                const int start = tiles.start(tile), size = tiles.size(tile);
                if (task.wanted[kIntForm])
                    round_row<1>(x, task.in, forms[kIntForm] + form_bytes(kIntForm, task.in, start), size, r - start);
                if (task.wanted[kHalfForm])
                    round_row<2>(x, task.in, forms[kHalfForm] + form_bytes(kHalfForm, task.in, start), size, r - start);
            }
            if (task.wanted[kFloatForm]) {
                const Tiles tiles = Tiles::of(task.rows, Isa::kFloatTokens);
                const int tile = tiles.tile_of(r);
                const int start = tiles.start(tile), size = tiles.size(tile);
                float* to = reinterpret_cast<float*>(forms[kFloatForm]) + start * task.in + (r - start);
                for (std::int64_t k = 0; k < task.in; ++k) to[k * size] = x[k];
            }
        }
    }

private:
    template <int S>
    static void round_row(const float* x, std::int64_t in, std::byte* tile, int tokens, int token) {
        constexpr float kLargest = 3.402823466e38f, kSmallest = 1.175494351e-38f;
        for (std::int64_t b = 0; b < in / kBlock; ++b) {
            const F low = Isa::load(x + b * kBlock), high = Isa::load(x + b * kBlock + 16);
            // A NaN fails the comparison and becomes infinite here.
            const F infinite = Isa::set(__builtin_inff());
            const F a = Isa::select_less(Isa::abs(low), infinite, Isa::abs(low), infinite);
            const F c = Isa::select_less(Isa::abs(high), infinite, Isa::abs(high), infinite);
            const float largest = Isa::largest(Isa::max(a, c));
            const bool finite = largest <= kLargest;
            float scale = largest / 127.0f;
            const bool zero = !finite || scale < kSmallest;
            const F inverse = Isa::set(zero ? 0.0f : 1.0f / scale);
            scale = finite ? zero ? 0.0f : scale : __builtin_nanf("");
            const I first = zero ? Isa::zero_int() : Isa::to_int(Isa::mul(low, inverse));
            const I second = zero ? Isa::zero_int() : Isa::to_int(Isa::mul(high, inverse));
            std::byte* codes = tile + token * kBlock;
            Isa::store_low_bytes(codes, first);
            Isa::store_low_bytes(codes + 16, second);
            std::byte* numbers = tile + tokens * kBlock;
            put(numbers, token, scale);
            if constexpr (S == 1) {
                const int sum = Isa::sum_int(Isa::add_int(first, second));
                put(numbers, tokens + token, -128 * sum);
                put(numbers, 2 * tokens + token, scale * static_cast<float>(sum));
            } else {
                const int sums[2] = {Isa::sum_int(first), Isa::sum_int(second)};
                for (int s = 0; s < 2; ++s) {
                    put(numbers, (1 + s) * tokens + token, -128 * sums[s]);
                    put(numbers, (3 + s) * tokens + token, scale * static_cast<float>(sums[s]));
                }
            }
            tile += tokens * (kBlock + 4 + 8 * S);
        }
    }

    template <class T>
    static NARAE_INLINE void put(std::byte* to, int index, T value) {
        __builtin_memcpy(to + index * 4, &value, 4);
    }
};

}  // namespace narae::kernels::cpu
