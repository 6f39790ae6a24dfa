// A weight as panels (or a table that is only looked up), and how it is made.
#pragma once

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/weight_memory.h"

#include <vector>

namespace narae::kernels::cpu {

struct CpuWeight final : DeviceWeight {
    struct Part {
        Kind kind = Kind::f32;
        const std::byte* panels = nullptr;  // panel i at panels + i * stride
        std::int64_t stride = 0;
    };
    std::vector<Part> laid;  // of each part
    std::vector<Strip> strips;
    bool wanted[kForms] = {};  // forms of activations that the strips read
    bool by_turns = false;     // gate and up share strips
    WeightMemory::Taken memory;
    PackedWeight table;  // a view; format null: panels

    // Row `index` of a weight of one part, as f32.
    void row(std::int64_t index, float* values) const;
};

std::unique_ptr<CpuWeight> make_weight(std::span<const PackedWeight> parts, Fuse fuse, Activations activations,
                                       const char* instruction_set, WeightMemory& memory, ThreadPool& threads);
std::unique_ptr<CpuWeight> make_table(const PackedWeight& table);
std::uint64_t weight_bytes(std::span<const PackedWeight> parts);

// NARAE_CHECK that it belongs to this backend.
const CpuWeight& cpu_weight(const DeviceWeight& weight);

}  // namespace narae::kernels::cpu
