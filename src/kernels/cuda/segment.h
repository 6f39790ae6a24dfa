// A weight on the card as kernels see it, and what becomes of a product. Passed by value; plain C++.
#pragma once

#include "formats/strips.h"
#include "kernels/backend.h"

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
    const std::byte *codes = nullptr, *high = nullptr, *scales = nullptr, *minimums = nullptr, *block_scales = nullptr;

    constexpr int strips() const { return (rows + kStripRows - 1) / kStripRows; }
    // The output column (parts in order) of a row; -1: filled up.
    constexpr int output(int row) const {
        if (!interleaved) return row < rows ? first_output + row : -1;
        const int of_part = row / 16 * 8 + row % 8;
        if (of_part >= part_rows) return -1;
        return row % 16 < 8 ? of_part : part_rows + of_part;
    }
};

// What is done with y = W x: a lane has two rows of it at once, 8 rows apart.
struct Ending {
    enum class Kind : std::uint8_t { store, add, gate, activate, logits } kind = Kind::store;
    void* y = nullptr;  // [rows, stride]
    bool bf16 = false;  // its type, else float32
    std::int64_t stride = 0;
    const float* bias = nullptr;  // [out], parts in order; null: none
    float scale = 1.0f;           // add: y += scale * (W x + b); logits: cap(scale * (W x + b))
    float soft_cap = 0.0f;
    Activation activation = Activation::silu;
};

}  // namespace narae::kernels::cuda
