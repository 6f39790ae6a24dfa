// How rows of activations are grouped into tiles of tokens that meet a panel together: as equal as possible, none larger than
// the instruction set's tile. Rows of a tile lie together; a tile of T tokens that starts at row r begins at r * (bytes of a
// row).
//
// Integer forms, per tile, block after block of 32 inputs, S = 1 or 2 sums:
//   | codes int8 [T][32] | scale f32 [T] | -128 * sum of codes, int32 [S][T] | scale * sum of codes, f32 [S][T] |
// Float form: f32 [in][T]. Pair form: bf16 pairs [ceil(in / 2)][T][2].
#pragma once

#include "kernels/cpu/inline.h"

namespace narae::kernels::cpu {

struct Tiles {
    int count, base, larger;  // the first `larger` tiles have base + 1 tokens, the others base

    static NARAE_INLINE Tiles of(int rows, int most) {
        const int count = (rows + most - 1) / most;
        return {count, rows / count, rows % count};
    }
    NARAE_INLINE int size(int tile) const { return tile < larger ? base + 1 : base; }
    NARAE_INLINE int start(int tile) const { return tile * base + (tile < larger ? tile : larger); }
    NARAE_INLINE int tile_of(int row) const {
        const int boundary = larger * (base + 1);
        return row < boundary ? row / (base + 1) : larger + (row - boundary) / base;
    }
};

}  // namespace narae::kernels::cpu
