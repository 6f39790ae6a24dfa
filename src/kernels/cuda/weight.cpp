#include "kernels/cuda/weight.h"

#include "base/error.h"
#include "base/file.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"

#include <algorithm>
#include <cstring>

namespace narae::kernels::cuda {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{32} << 20;

// How one part's format lies on the card.
Layout layout_of(const PackedWeight& part, bool exact) {
    const Format& format = *part.format;
    if (format.dtype == DType::f16) return Layout::f16;
    if (format.dtype == DType::bf16) return Layout::bf16;
    if (const std::optional<StripKind> kind = strip_kind_of(format)) {
        switch (*kind) {
            case StripKind::q4:
                return Layout::q4;
            case StripKind::q4_minimum:
                return Layout::q4_minimum;
            case StripKind::q8:
                return Layout::q8;
            case StripKind::q6:
                return Layout::q6;
        }
    }
    return exact ? Layout::f32 : Layout::bf16;
}

std::string_view layout_name(Layout layout) {
    constexpr std::array<std::string_view, 7> kNames = {"f32",       "f16",      "bf16", "q4 strips", "q4 strips with minimums",
                                                        "q8 strips", "q6 strips"};
    return kNames[static_cast<std::size_t>(layout)];
}

std::uint64_t padded(std::uint64_t bytes) { return (bytes + 255) / 256 * 256; }

// The file's bytes are what the card gets (dense as it is, or the blocks that pack_blocks reads).
bool goes_as_it_is(const PackedWeight& part, const Segment& to) {
    if (!is_dense(to.layout)) return true;
    return part.format->dtype && element_bytes(to.layout) * 8 == dtype_bits(*part.format->dtype) &&
           (to.layout == Layout::f32) == (part.format->dtype == DType::f32);
}

}  // namespace

const CudaWeight& cuda_weight(const DeviceWeight& weight) { return static_cast<const CudaWeight&>(weight); }

WeightPlan plan_weight(std::span<const PackedWeight> parts, Fuse fuse, Activations activations, bool table,
                       const HeadRows& heads) {
    WeightPlan plan;
    plan.exact = activations == Activations::f32 || activations == Activations::int8;
    for (const PackedWeight& part : parts) plan.exact = plan.exact || (!table && part.in % kUnitColumns != 0);
    std::vector<Layout> layouts;
    for (const PackedWeight& part : parts) layouts.push_back(layout_of(part, plan.exact || table));
    const bool same = std::ranges::all_of(layouts, [&](Layout layout) { return layout == layouts.front(); });
    const bool interleaved = fuse == Fuse::interleaved && same && parts.size() == 2 && parts[0].out == parts[1].out;

    const auto whole = [](int count) { return count > 0 && count % kStripRows == 0; };
    if (!plan.exact && whole(heads.head_dim) && whole(heads.rope.rotary_dim)) plan.heads = heads;

    int output = 0;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        if (p == 0 || !same) {
            WeightPlan::Piece& piece = plan.pieces.emplace_back();
            piece.segment.layout = layouts[p];
            piece.segment.columns = static_cast<int>(parts[p].in);
            piece.segment.first_output = output;
        }
        WeightPlan::Piece& piece = plan.pieces.back();
        piece.parts.push_back(static_cast<int>(p));
        if (plan.heads.head_dim > 0 && output < heads.rows) {
            piece.segment.heads = {heads.head_dim, heads.rope.rotary_dim, heads.rope.interleaved};
            piece.segment.head_rows += static_cast<int>(parts[p].out);
        }
        piece.segment.rows += static_cast<int>(parts[p].out);
        output += static_cast<int>(parts[p].out);
    }
    for (WeightPlan::Piece& piece : plan.pieces) {
        Segment& s = piece.segment;
        if (interleaved) {
            s.interleaved = true;
            s.part_rows = static_cast<int>(parts[0].out);
            s.rows = (s.part_rows + 7) / 8 * kStripRows;
        }
        piece.begin = plan.bytes;
        if (is_dense(s.layout)) {
            s.units = (s.columns + kUnitColumns - 1) / kUnitColumns;
            plan.bytes += padded(static_cast<std::uint64_t>(s.rows) * static_cast<std::uint64_t>(s.columns) *
                                 static_cast<std::uint64_t>(element_bytes(s.layout)));
        } else {
            piece.strips =
                strip_layout(*strip_kind_of(*parts[static_cast<std::size_t>(piece.parts.front())].format), s.rows, s.columns);
            s.units = static_cast<int>(piece.strips.units);
            plan.bytes += padded(piece.strips.bytes);
        }
        if (!plan.kernel.empty()) plan.kernel += ", ";
        plan.kernel += layout_name(s.layout);
    }
    plan.kernel += plan.exact ? " x f32" : layouts.front() == Layout::f16 ? " x f16 (tensor cores)" : " x bf16 (tensor cores)";
    for (const PackedWeight& part : parts) {
        const bool dense = is_dense(layouts[static_cast<std::size_t>(&part - parts.data())]);
        if (table || !dense || part.format->dtype == DType::f16 || part.format->dtype == DType::bf16) continue;
        if (!part.format->dtype)
            plan.fallback = fmt::format("{} has no kernel on the card yet: unpacked at load", part.format->name);
        else if (!plan.exact)
            plan.fallback = "f32 rounded to bf16";
    }
    return plan;
}

WeightLoader::WeightLoader(const Stream& stream) : stream_(stream), threads_(std::min(8, usable_processors())) {}

void WeightLoader::release() { chunks_ = {}; }

WeightLoader::Chunk& WeightLoader::next_chunk(std::size_t bytes) {
    Chunk& chunk = chunks_[turn_++ % chunks_.size()];
    if (chunk.used) chunk.copied.synchronize();
    if (chunk.host.size() < bytes) {
        chunk.host = PinnedMemory(std::max(bytes, kChunkBytes));
        chunk.device = DeviceMemory(stream_, chunk.host.size());
    }
    chunk.used = true;
    return chunk;
}

void WeightLoader::load_part(const PackedWeight& part, StripPlace place, const Segment& to) {
    const bool as_it_is = goes_as_it_is(part, to);
    const std::int64_t row_bytes = as_it_is ? part.format->row_bytes(part.in) : part.in * 4;
    // Whole groups of 16 rows, so that no two chunks share a strip; with interleaved parts groups of 8 do, with an order of
    // heads whole heads.
    const std::int64_t together = place.heads.rotary_dim > 0 ? place.heads.head_dim : kStripRows;
    const std::int64_t rows_at_once = std::max<std::int64_t>(
        together, static_cast<std::int64_t>(kChunkBytes) / std::max<std::int64_t>(1, row_bytes) / together * together);
    for (std::int64_t begin = 0; begin < part.out; begin += rows_at_once) {
        const std::int64_t count = std::min(rows_at_once, part.out - begin), bytes = count * row_bytes;
        Chunk& chunk = next_chunk(static_cast<std::size_t>(bytes));
        if (as_it_is) {
            const std::byte* from = part.codes().data() + begin * row_bytes;
            constexpr std::int64_t kPiece = std::int64_t{1} << 20;
            threads_.parallel_for((bytes + kPiece - 1) / kPiece, 1, [&](std::int64_t first, std::int64_t last) {
                const std::int64_t at = first * kPiece, end = std::min(last * kPiece, bytes);
                std::memcpy(chunk.host.data() + at, from + at, static_cast<std::size_t>(end - at));
            });
        } else {
            auto* values = reinterpret_cast<float*>(chunk.host.data());
            threads_.parallel_for(count, 8, [&](std::int64_t first, std::int64_t last) {
                part.format->unpack(part, begin + first, begin + last, values + first * part.in);
            });
        }
        if (part.file)
            part.file->release_pages(part.codes().subspan(static_cast<std::size_t>(begin * part.format->row_bytes(part.in)),
                                                          static_cast<std::size_t>(count * part.format->row_bytes(part.in))));
        const auto size = static_cast<std::size_t>(bytes);
        auto* codes = const_cast<std::byte*>(to.codes);
        if (as_it_is && is_dense(to.layout) && !place.interleaved) {
            copy_to_device(stream_, codes + place.row(begin) * row_bytes, chunk.host.data(), size);
        } else if (as_it_is && is_dense(to.layout)) {
            // Eight rows lie together, then eight of the other part.
            const std::int64_t groups = count / 8, rest = count % 8;
            std::byte* first = codes + place.row(begin) * row_bytes;
            const auto width = static_cast<std::size_t>(8 * row_bytes);
            if (groups > 0)
                attempt("copy to the card", [&] {
                    return cudaMemcpy2DAsync(first, 2 * width, chunk.host.data(), width, width,
                                             static_cast<std::size_t>(groups), cudaMemcpyHostToDevice, stream_.handle);
                });
            copy_to_device(stream_, first + groups * 16 * row_bytes, chunk.host.data() + groups * 8 * row_bytes,
                           static_cast<std::size_t>(rest * row_bytes));
        } else {
            copy_to_device(stream_, chunk.device.data(), chunk.host.data(), size);
            const int first = static_cast<int>(begin), rows = static_cast<int>(count);
            if (is_dense(to.layout))
                pack_floats(stream_, chunk.device.as<float>(), first, rows, place, to);
            else
                pack_blocks(stream_, chunk.device.data(), first, rows, place, to);
        }
        chunk.copied.record(stream_);
    }
}

std::unique_ptr<CudaWeight> WeightLoader::load(std::span<const PackedWeight> parts, Fuse fuse, Activations activations,
                                               bool table, const HeadRows& heads) {
    const WeightPlan plan = plan_weight(parts, fuse, activations, table, heads);
    auto weight = std::make_unique<CudaWeight>();
    weight->memory = DeviceMemory(stream_, plan.bytes);
    fill_zero(stream_, weight->memory.data(), plan.bytes);
    for (const WeightPlan::Piece& piece : plan.pieces) {
        Segment s = piece.segment;
        const std::byte* base = weight->memory.data() + piece.begin;
        s.codes = base + piece.strips.codes;
        s.high = base + piece.strips.high;
        s.scales = base + piece.strips.scales;
        s.minimums = base + piece.strips.minimums;
        s.block_scales = base + piece.strips.block_scales;
        StripPlace place{.first = 0, .interleaved = s.interleaved};
        for (const int p : piece.parts) {
            const PackedWeight& part = parts[static_cast<std::size_t>(p)];
            // Dense rows stay in their order: kernels read them in the other.
            place.heads = !is_dense(s.layout) && place.first < s.head_rows ? s.heads : HeadOrder{};
            load_part(part, place, s);
            place.first += s.interleaved ? 8 : part.out;
        }
        weight->segments.push_back(s);
    }
    weight->exact = plan.exact;
    weight->heads = plan.heads;
    weight->in = parts.front().in;
    weight->fuse = fuse;
    weight->bytes = plan.bytes;
    weight->kernel = plan.kernel;
    weight->fallback = plan.fallback;
    for (std::size_t p = 0; p < parts.size(); ++p) {
        weight->parts.push_back(parts[p].out);
        weight->out += parts[p].out;
        const bool float16 = parts[p].format->dtype == DType::f16;
        weight->activations.push_back(plan.exact ? Activations::f32 : float16 ? Activations::f16 : Activations::bf16);
    }
    return weight;
}

}  // namespace narae::kernels::cuda
