// How weights lie in memory: one layout for all instruction sets. A panel is 16 output rows; lane r of a 64-byte vector
// belongs to row r of the panel. Panels follow each other, so that one product reads one sequential stream.
//
// In a vector of codes each lane is a 32-bit word of 4 consecutive inputs k; it is the word that the file holds, so packing
// transposes words:
//
//            lane 0 (row 0)      lane 1 (row 1)           lane 15
//   vector  | k0 k1 k2 k3      | k0 k1 k2 k3      | ... | k0 k1 k2 k3 |
//
// The bytes of one panel, block after block of 32 inputs:
//   q4       4 vectors: vector v holds k = 4v .. 4v + 3 in the low nibbles and 16 + 4v .. in the high ones; 16 f16 scales
//   q4_min   the same; 16 f16 scales, 16 f16 minimums
//   q8       8 vectors of bytes code + 128; 16 f16 scales
//   q6k      a block of 256: 32 vectors of low nibbles, 16 of bit pairs, in the order of ggml's block; 16 vectors' worth of
//            int8 scales: 4 vectors, lane r = the scales of 4 consecutive runs of 16 inputs; 16 f16 scales
//   wide     8 vectors of bytes code + 128, then f32 vectors: a scale, or two for runs of 16 ("half"), and as many minimums.
//            This is also what the other kinds are expanded to before they meet several tokens.
// and of dense panels:
//   f32, f16 one vector of 16 elements per k
//   bf16     one vector of 16 pairs (k, k + 1); an odd last k is paired with 0
#pragma once

#include "kernels/cpu/inline.h"

namespace narae::kernels::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlock = 32;        // inputs of a block of codes
inline constexpr int kSuperBlock = 256;  // inputs of a q6k block
inline constexpr int kCodeVectors = 8;   // of an expanded block
inline constexpr int kCodeBytes = 512;
inline constexpr int kVectorBytes = 64;
inline constexpr int kQ6kBytes = 64 * (32 + 16 + 4) + 32;

enum class Kind : std::uint8_t { q4, q4_min, q8, q6k, wide, wide_min, wide_half, wide_half_min, f32, f16, bf16 };

NARAE_INLINE bool has_codes(Kind kind) { return kind < Kind::f32; }
NARAE_INLINE bool has_minimum(Kind kind) {
    return kind == Kind::q4_min || kind == Kind::wide_min || kind == Kind::wide_half_min;
}
// Scales of a block of 32 inputs: 2 where runs of 16 have their own.
NARAE_INLINE int scales_of(Kind kind) {
    return kind == Kind::q6k || kind == Kind::wide_half || kind == Kind::wide_half_min ? 2 : 1;
}
NARAE_INLINE bool is_wide(Kind kind) { return kind >= Kind::wide && kind <= Kind::wide_half_min; }

// Bytes of an expanded block: codes, scales, minimums.
NARAE_INLINE std::int64_t expanded_bytes(Kind kind) {
    return kCodeBytes + kVectorBytes * scales_of(kind) * (has_minimum(kind) ? 2 : 1);
}

NARAE_INLINE std::int64_t panel_bytes(Kind kind, std::int64_t in) {
    switch (kind) {
        case Kind::q4:
            return in / kBlock * 288;
        case Kind::q4_min:
            return in / kBlock * 320;
        case Kind::q8:
            return in / kBlock * 544;
        case Kind::q6k:
            return in / kSuperBlock * kQ6kBytes;
        case Kind::wide:
        case Kind::wide_min:
        case Kind::wide_half:
        case Kind::wide_half_min:
            return in / kBlock * expanded_bytes(kind);
        case Kind::f32:
            return in * 64;
        case Kind::f16:
            return in * 32;
        case Kind::bf16:
            return (in + 1) / 2 * 64;
    }
    return 0;
}

// Two panels (or one, at the end of a part) that are computed together. Of interleaved weights the first is gate's, the second
// up's, for the same rows.
struct Strip {
    const std::byte* panels[2] = {};
    int count = 0;  // panels
    Kind kind = Kind::f32;
    bool integer = false;  // meets int8 activations
    bool gated = false;    // gate and up
    int part = 0;
    std::int64_t row = 0;  // first, within the part
    int rows = 0;          // of the part, at most 16 * count (of each part when gated: at most 16)
};

}  // namespace narae::kernels::cpu
