// From a format's own bytes to panels (layout.h), and single rows back. Functions may run concurrently for different panels.
#pragma once

#include "formats/format.h"
#include "kernels/cpu/layout.h"

namespace narae::kernels::cpu {

// The kind of panel for a format: f32 for every format that has none of its own (its values, unpacked).
Kind kind_of(const Format& format);

// Rows [row, row + 16) of the weight, fewer at its end, into one panel of zeroed memory.
void pack_panel(Kind kind, const PackedWeight& weight, std::int64_t row, std::byte* panel);

// Row `lane` of a panel as `in` floats: exactly what Format::unpack gives.
void unpack_row(Kind kind, const std::byte* panel, int lane, std::int64_t in, float* values);

}  // namespace narae::kernels::cpu
