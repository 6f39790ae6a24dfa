// A weight on the card as kernels see it, and what becomes of a product. Passed by value; plain C++.
#pragma once

#include "formats/strips.h"
#include "kernels/backend.h"
#include "kernels/cuda/views.h"

#include <cstddef>
#include <cstdint>

namespace narae::kernels::cuda {

enum class Layout : std::uint8_t { f32, f16, bf16, q4, q4_minimum, q8, q6 };

constexpr bool is_dense(Layout layout) { return layout <= Layout::bf16; }
constexpr int element_bytes(Layout layout) { return layout == Layout::f32 ? 4 : 2; }  // dense ones

// Rows that lie together in one layout: all parts of a weight, or one of them where their formats differ. Dense layouts are
// row-major [rows, columns]; the others are strips (formats/strips.h). `rows` is a multiple of 16 where two parts are
// interleaved: row 16 b + i is row 8 b + i of the gate, 16 b + 8 + i the same of the up; those beyond part_rows are zero.
struct Segment {
    Layout layout = Layout::bf16;
    int rows = 0, columns = 0;
    int units = 0;  // of strips
    bool interleaved = false;
    int part_rows = 0;     // interleaved: of the gate
    int first_output = 0;  // the output column of row 0
    HeadOrder heads = {};  // the order of rows [0, head_rows); a dense layout lies in natural order and is read in this one
    int head_rows = 0;
    const std::byte *codes = nullptr, *high = nullptr, *scales = nullptr, *minimums = nullptr, *block_scales = nullptr;

    constexpr int strips() const { return (rows + kStripRows - 1) / kStripRows; }
    // The row in the parts' own order.
    constexpr int natural(int row) const { return row < head_rows ? heads.row(row) : row; }
    // The output column (parts in order) of a row; -1: filled up.
    constexpr int output(int row) const {
        if (!interleaved) return row < rows ? first_output + natural(row) : -1;
        const int of_part = row / 16 * 8 + row % 8;
        if (of_part >= part_rows) return -1;
        return row % 16 < 8 ? of_part : part_rows + of_part;
    }
};

// Of qkv: rotates the heads of q and k by the rows' angles, q to `q`, k and v to the cache. Only for weights whose q and k lie
// in the rotation's HeadOrder.
struct HeadsEnding {
    int heads = 0;  // of q
    Rope rope = {};
    const float* rope_table = nullptr;  // [rows, 2, rotary_dim / 2] cos and sin
    Matrix q = {};
    KvView kv = {};
    BatchView batch = {};
};

// What a norm of the residual needs, written where the residual is finished: x * weight as bfloat16, and sums of squares of
// parts of each row. The product that follows multiplies its result by 1 / rms.
struct NextInput {
    void* x = nullptr;  // [rows, stride] bfloat16; null: nothing is wanted
    std::int64_t stride = 0;
    const float* norm_weight = nullptr;  // null: ones
    float* squares = nullptr;            // [rows, squares_stride]
    int squares_stride = 0;              // a multiple of 4; what lies beyond the parts is zero
};

// What is done with y = W x: a lane has two rows of it at once, 8 rows apart.
struct Ending {
    enum class Kind : std::uint8_t { store, add, gate, activate, logits, heads } kind = Kind::store;
    void* y = nullptr;  // [rows, stride]
    bool bf16 = false;  // its type, else float32
    std::int64_t stride = 0;
    const float* bias = nullptr;  // [out], parts in order; null: none
    float scale = 1.0f;           // add: y += scale * (W x + b); logits: cap(scale * (W x + b))
    float soft_cap = 0.0f;
    Activation activation = Activation::silu;
    NextInput next = {};     // of add
    HeadsEnding heads = {};  // of heads; y is not used
};

}  // namespace narae::kernels::cuda
