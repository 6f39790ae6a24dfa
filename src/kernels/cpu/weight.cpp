#include "kernels/cpu/weight.h"

#include "base/error.h"
#include "kernels/activation_rounding.h"
#include "kernels/cpu/pack.h"

#include <algorithm>

namespace narae::kernels::cpu {
namespace {

std::int64_t panels_of(const PackedWeight& part) { return ceil_div(part.out, kPanelRows); }

bool meets_int8(const PackedWeight& part, Activations activations) {
    return activations != Activations::f32 && rounds_activations(*part.format) && has_codes(kind_of(*part.format));
}

// What to say of formats that take more memory than in their file.
std::string fallback_of(const PackedWeight& part) {
    const Kind kind = kind_of(*part.format);
    const double bits = static_cast<double>(panel_bytes(kind, kSuperBlock)) * 8 / (kPanelRows * kSuperBlock);
    const double file_bits = part.bits_per_weight();
    if (bits <= file_bits) return "";
    return fmt::format("{} is unpacked to {:.4g} bits a weight (in the file {:.4g})", part.format->name, bits, file_bits);
}

void append_sentence(std::string& text, const std::string& more, std::string_view between) {
    if (more.empty() || text.find(more) != std::string::npos) return;
    if (!text.empty()) text += between;
    text += more;
}

// Strips of one part, panels two by two.
void add_strips(CpuWeight& weight, int part, std::int64_t rows, bool integer) {
    const CpuWeight::Part& laid = weight.laid[static_cast<std::size_t>(part)];
    for (std::int64_t row = 0; row < rows; row += 2 * kPanelRows) {
        Strip strip;
        strip.kind = laid.kind;
        strip.integer = integer;
        strip.part = part;
        strip.row = row;
        strip.rows = static_cast<int>(std::min<std::int64_t>(2 * kPanelRows, rows - row));
        strip.count = strip.rows > kPanelRows ? 2 : 1;
        for (int p = 0; p < strip.count; ++p) strip.panels[p] = laid.panels + (row / kPanelRows + p) * laid.stride;
        weight.strips.push_back(strip);
    }
}

void add_gated_strips(CpuWeight& weight, std::int64_t rows, bool integer) {
    for (std::int64_t row = 0; row < rows; row += kPanelRows) {
        Strip strip;
        strip.kind = weight.laid[0].kind;
        strip.integer = integer;
        strip.gated = true;
        strip.row = row;
        strip.rows = static_cast<int>(std::min<std::int64_t>(kPanelRows, rows - row));
        strip.count = 2;
        for (std::size_t p = 0; p < 2; ++p) strip.panels[p] = weight.laid[p].panels + row / kPanelRows * weight.laid[p].stride;
        weight.strips.push_back(strip);
    }
}

}  // namespace

void CpuWeight::row(std::int64_t index, float* values) const {
    if (table.format) return table.format->unpack(table, index, index + 1, values);
    const Part& part = laid.front();
    unpack_row(part.kind, part.panels + index / kPanelRows * part.stride, static_cast<int>(index % kPanelRows), in, values);
}

std::uint64_t weight_bytes(std::span<const PackedWeight> parts) {
    std::uint64_t bytes = 0;
    for (const PackedWeight& part : parts)
        bytes += static_cast<std::uint64_t>(panels_of(part) * panel_bytes(kind_of(*part.format), part.in));
    return bytes;
}

std::unique_ptr<CpuWeight> make_weight(std::span<const PackedWeight> parts, Fuse fuse, Activations activations,
                                       const char* instruction_set, WeightMemory& memory, ThreadPool& threads) {
    NARAE_CHECK(!parts.empty() && parts.size() <= kMaxParts, "prepare: {} weights", parts.size());
    NARAE_CHECK(fuse != Fuse::none || parts.size() == 1, "prepare: {} weights without fusing", parts.size());
    auto weight = std::make_unique<CpuWeight>();
    weight->in = parts.front().in;
    weight->fuse = fuse;
    weight->bytes = weight_bytes(parts);
    weight->memory = memory.take(weight->bytes);
    weight->by_turns = fuse == Fuse::interleaved && kind_of(*parts[0].format) == kind_of(*parts[1].format) &&
                       meets_int8(parts[0], activations) == meets_int8(parts[1], activations);

    struct Piece {         // panels of one part
        std::int64_t end;  // panels of this and the parts before
        std::size_t part;
    };
    std::vector<Piece> pieces;
    std::byte* at = weight->memory.data;
    for (const PackedWeight& part : parts) {
        NARAE_CHECK(part.in == weight->in, "prepare: {} has in {}, the first weight {}", part.name, part.in, weight->in);
        NARAE_CHECK(fuse != Fuse::interleaved || (parts.size() == 2 && part.out == parts[0].out),
                    "prepare: {} of {} rows cannot be interleaved", part.name, part.out);
        const Kind kind = kind_of(*part.format);
        const std::int64_t bytes = panel_bytes(kind, part.in);
        const auto p = weight->laid.size();
        if (weight->by_turns) {
            weight->laid.push_back({kind, weight->memory.data + static_cast<std::int64_t>(p) * bytes, 2 * bytes});
        } else {
            weight->laid.push_back({kind, at, bytes});
            at += panels_of(part) * bytes;
        }
        pieces.push_back({(pieces.empty() ? 0 : pieces.back().end) + panels_of(part), p});
        const bool integer = meets_int8(part, activations);
        weight->out += part.out;
        weight->parts.push_back(part.out);
        weight->activations.push_back(integer ? Activations::int8 : Activations::f32);
        weight->wanted[!integer ? kFloatForm : scales_of(kind) == 2 ? kHalfForm : kIntForm] = true;
        append_sentence(weight->kernel,
                        fmt::format("{} panels x {} ({})", part.format->name, integer ? "int8" : "f32", instruction_set),
                        " + ");
        append_sentence(weight->fallback, fallback_of(part), "; ");
        if (!weight->by_turns) add_strips(*weight, static_cast<int>(p), part.out, integer);
    }
    if (weight->by_turns) add_gated_strips(*weight, parts[0].out, weight->activations[0] == Activations::int8);

    threads.parallel_for(pieces.back().end, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const Piece& piece = *std::ranges::find_if(pieces, [&](const Piece& candidate) { return i < candidate.end; });
            const PackedWeight& part = parts[piece.part];
            const CpuWeight::Part& laid = weight->laid[piece.part];
            const std::int64_t panel = i - (piece.end - panels_of(part));
            pack_panel(laid.kind, part, panel * kPanelRows, const_cast<std::byte*>(laid.panels) + panel * laid.stride);
        }
    });
    return weight;
}

std::unique_ptr<CpuWeight> make_table(const PackedWeight& table) {
    auto weight = std::make_unique<CpuWeight>();
    weight->out = table.out;
    weight->in = table.in;
    weight->parts = {table.out};
    weight->activations = {Activations::f32};
    weight->kernel = fmt::format("{} rows, looked up", table.format->name);
    weight->table = table;
    return weight;
}

const CpuWeight& cpu_weight(const DeviceWeight& weight) {
    const auto* found = dynamic_cast<const CpuWeight*>(&weight);
    NARAE_CHECK(found, "a weight of another backend ({})", weight.kernel);
    return *found;
}

}  // namespace narae::kernels::cpu
