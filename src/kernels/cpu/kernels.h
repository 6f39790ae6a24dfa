// The functions that exist once per instruction set, as a table chosen when the backend opens, and the plain data they work
// on. All pointers are borrowed for the call. Every function may run on several threads at once for different ranges.
#pragma once

#include "kernels/cpu/layout.h"

#include <cstddef>
#include <cstdint>

namespace narae::kernels::cpu {

// What activations are turned into before a product: int8 with one or two sums per block of 32, f32, bf16 pairs.
enum Form : int { kIntForm = 0, kHalfForm = 1, kFloatForm = 2, kPairForm = 3, kForms = 4 };

enum class NormRule : std::uint8_t { none, rms, layer };
struct NormTask {
    NormRule rule = NormRule::none;
    float eps = 0.0f;
    const float* weight = nullptr;  // [n], or null: 1
    const float* bias = nullptr;    // [n], or null: 0
};

enum class Curve : std::uint8_t { silu, gelu_erf, gelu_tanh, quick_gelu, relu };

// Rows of activations, normed and put into forms, tile by tile of tokens.
struct InputTask {
    const float* x = nullptr;  // [., in]
    std::int64_t in = 0;
    int rows = 0;
    const std::int32_t* index = nullptr;  // row i comes from x[index[i]]; null: x[i]
    NormTask norm;
    bool wanted[kForms] = {};
};

enum class Ending : std::uint8_t { store, add, gated, curve, logits };
inline constexpr int kMaxParts = 4;

// What happens to the products of a strip.
struct OutputTask {
    Ending ending = Ending::store;
    float* out[kMaxParts] = {};           // of each part: [rows, .]
    std::int64_t stride[kMaxParts] = {};  // floats from row to row
    const float* bias[kMaxParts] = {};    // of each part, or null
    float scale = 1.0f, soft_cap = 0.0f;
    Curve curve = Curve::silu;
};

struct ProductTask {
    const Strip* strips = nullptr;
    std::int64_t in = 0;
    int rows = 0;
    const std::byte* forms[kForms] = {};  // as made by prepare_inputs
    OutputTask output;
};

struct AttentionTask {
    // Blocks of the cache: pieces[block >> piece_shift] + (block & mask) * block_bytes + offset of the layer's keys or values.
    // Keys lie as [kv_head][head_dim][64], values as [kv_head][64][head_dim].
    std::byte* const* pieces = nullptr;
    int piece_shift = 0;
    std::int64_t block_bytes = 0, keys_offset = 0, values_offset = 0;
    int element = 0;  // 0 f32, 1 f16, 2 bf16
    int heads = 0, kv_heads = 0, head_dim = 0, window = 0;
    float scale = 1.0f, soft_cap = 0.0f;
    const float* alibi_slopes = nullptr;
    const float* sinks = nullptr;
    const float* q = nullptr;  // [rows, heads * head_dim]
    float* out = nullptr;      // the same shape
};

// Consecutive rows of one sequence with one kv head.
struct AttentionItem {
    int kv_head = 0;
    int first_row = 0, rows = 0;
    std::int32_t position = 0;             // of the first row
    const std::int32_t* blocks = nullptr;  // the sequence's table
};

struct Kernels {
    const char* name;              // "avx512"
    const char* describe;          // "AVX-512 VNNI"
    int int_tokens, float_tokens;  // tokens of a tile
    bool pairs;                    // bf16 products exist

    // Bytes of one thread's scratch for products of up to `rows` rows.
    std::int64_t (*product_scratch_bytes)(int rows);
    // Rows [begin, end) of the input into forms[.] (each as large as form_bytes says); `row` is scratch of `in` floats.
    void (*prepare_inputs)(const InputTask& task, int begin, int end, std::byte* const* forms, float* row);
    // Strips [begin, end) for all rows.
    void (*product)(const ProductTask& task, std::int64_t begin, std::int64_t end, std::byte* scratch);

    std::int64_t (*attention_scratch_bytes)(int lines, int head_dim);
    void (*attend)(const AttentionTask& task, const AttentionItem& item, std::byte* scratch);

    void (*norm)(const NormTask& task, std::int64_t n, const float* x, float* y);
    // Heads [count, head_dim] of one row in place: norm, then rotation by cos [half] and sin [half].
    void (*norm_rotate)(float* heads, int count, int head_dim, const NormTask& norm, int rotary_dim, bool interleaved,
                        const float* table);
    void (*activate)(Curve curve, std::int64_t n, const float* gate, const float* up, float* y);
    void (*add)(std::int64_t n, float scale, const float* x, float* residual);
    // One position's keys and values of all kv heads into its block.
    void (*append)(int element, int kv_heads, int head_dim, int offset, const float* k, const float* v, std::byte* keys,
                   std::byte* values);
};

NARAE_INLINE std::int64_t form_bytes(int form, std::int64_t in, std::int64_t rows) {
    const std::int64_t blocks = ceil_div(in, kBlock);
    switch (form) {
        case kIntForm:
            return rows * blocks * (kBlock + 12);
        case kHalfForm:
            return rows * blocks * (kBlock + 20);
        case kFloatForm:
            return rows * in * 4;
        default:
            return rows * ceil_div(in, 2) * 4;
    }
}

// The best table that this processor runs, or the named one: "generic", "avx2", "avx512". UsageError for an
// unknown name, ResourceError for one that this processor lacks.
const Kernels& choose_kernels(const char* name);

extern const Kernels kGenericKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512Bf16Kernels;

}  // namespace narae::kernels::cpu
