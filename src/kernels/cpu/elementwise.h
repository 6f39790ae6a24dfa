// Norms, rotation, activation curves, additions and the KV append, each for one row.
#pragma once

#include "kernels/cpu/math.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Elementwise {
    using F = typename Isa::F;

    static NARAE_INLINE int lanes(std::int64_t left) { return static_cast<int>(left < 16 ? left : 16); }

    // RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016). Sums in 16 lanes, each in ascending order. y may be x.
    static void norm(const NormTask& task, std::int64_t n, const float* x, float* y) {
        F mean = Isa::zero(), inverse = Isa::set(1.0f);
        if (task.rule == NormRule::layer) {
            F sum = Isa::zero();
            for (std::int64_t i = 0; i < n; i += 16) sum = Isa::add(sum, Isa::load(x + i, lanes(n - i)));
            mean = Isa::set(Isa::sum(sum) / static_cast<float>(n));
        }
        if (task.rule != NormRule::none) {
            F sum = Isa::zero();
            for (std::int64_t i = 0; i < n; i += 16) {
                const int count = lanes(n - i);
                const F centered = Isa::keep_lanes(Isa::sub(Isa::load(x + i, count), mean), 0, count, Isa::zero());
                sum = Isa::fma(centered, centered, sum);
            }
            inverse = Isa::set(1.0f / __builtin_sqrtf(Isa::sum(sum) / static_cast<float>(n) + task.eps));
        }
        for (std::int64_t i = 0; i < n; i += 16) {
            const int count = lanes(n - i);
            F value = Isa::load(x + i, count);
            if (task.rule == NormRule::layer) value = Isa::sub(value, mean);
            if (task.rule != NormRule::none) value = Isa::mul(value, inverse);
            if (task.rule != NormRule::none && task.weight) value = Isa::mul(value, Isa::load(task.weight + i, count));
            if (task.rule != NormRule::none && task.bias) value = Isa::add(value, Isa::load(task.bias + i, count));
            Isa::store(y + i, value, count);
        }
    }

    static void norm_rotate(float* heads, int count, int head_dim, const NormTask& task, int rotary_dim, bool interleaved,
                            const float* table) {
        const int half = rotary_dim / 2;
        for (int h = 0; h < count; ++h) {
            float* head = heads + static_cast<std::int64_t>(h) * head_dim;
            if (task.rule != NormRule::none) norm(task, head_dim, head, head);
            if (interleaved) {
                for (int i = 0; i < half; ++i) {
                    const float a = head[2 * i], b = head[2 * i + 1];
                    head[2 * i] = a * table[i] - b * table[half + i];
                    head[2 * i + 1] = b * table[i] + a * table[half + i];
                }
                continue;
            }
            for (int i = 0; i < half; i += 16) {
                const int n = lanes(half - i);
                const F a = Isa::load(head + i, n), b = Isa::load(head + half + i, n);
                const F cosine = Isa::load(table + i, n), sine = Isa::load(table + half + i, n);
                Isa::store(head + i, Isa::sub(Isa::mul(a, cosine), Isa::mul(b, sine)), n);
                Isa::store(head + half + i, Isa::fma(a, sine, Isa::mul(b, cosine)), n);
            }
        }
    }

    static void activate(Curve curve, std::int64_t n, const float* gate, const float* up, float* y) {
        for (std::int64_t i = 0; i < n; i += 16) {
            const int count = lanes(n - i);
            F value = Math<Isa>::curve(curve, Isa::load(gate + i, count));
            if (up) value = Isa::mul(value, Isa::load(up + i, count));
            Isa::store(y + i, value, count);
        }
    }

    static void add(std::int64_t n, float scale, const float* x, float* residual) {
        for (std::int64_t i = 0; i < n; i += 16) {
            const int count = lanes(n - i);
            Isa::store(residual + i, Isa::fma(Isa::set(scale), Isa::load(x + i, count), Isa::load(residual + i, count)), count);
        }
    }

    // Keys are stored a component at a time, 64 positions apart, values as they come.
    static void append(int element, int kv_heads, int head_dim, int offset, const float* k, const float* v, std::byte* keys,
                       std::byte* values) {
        const int size = element == 0 ? 4 : 2;
        const std::int64_t head_bytes = static_cast<std::int64_t>(head_dim) * 64 * size;
        alignas(64) std::byte packed[64];
        for (int h = 0; h < kv_heads; ++h) {
            const std::int64_t column = static_cast<std::int64_t>(h) * head_dim;
            std::byte* key = keys + h * head_bytes + static_cast<std::int64_t>(offset) * size;
            std::byte* value = values + h * head_bytes + static_cast<std::int64_t>(offset) * head_dim * size;
            for (int i = 0; i < head_dim; i += 16) {
                const int count = lanes(head_dim - i);
                put(element, value + static_cast<std::int64_t>(i) * size, Isa::load(v + column + i, count), count);
                put(element, packed, Isa::load(k + column + i, count), count);
                for (int j = 0; j < count; ++j)
                    __builtin_memcpy(key + static_cast<std::int64_t>(i + j) * 64 * size, packed + j * size,
                                     static_cast<std::size_t>(size));
            }
        }
    }

private:
    static NARAE_INLINE void put(int element, std::byte* to, F value, int count) {
        if (element == 0)
            Isa::store(reinterpret_cast<float*>(to), value, count);
        else if (element == 1)
            Isa::store_f16(to, value, count);
        else
            Isa::store_bf16(to, value, count);
    }
};

}  // namespace narae::kernels::cpu
