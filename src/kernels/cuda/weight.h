// Weights on the card, and how they get there: file -> pinned chunks -> packed on the card, with no second copy of the whole.
#pragma once

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"

#include <array>
#include <span>
#include <vector>

namespace narae::kernels::cuda {

class CudaWeight final : public DeviceWeight {
public:
    std::vector<Segment> segments;  // one, or one for each part where their layouts differ
    bool exact = false;             // products in float32
    HeadRows heads;                 // of the rotation that its rows are ordered for; rotary_dim 0: none
    DeviceMemory memory;
};

const CudaWeight& cuda_weight(const DeviceWeight& weight);

// What a weight becomes, without reading it.
struct WeightPlan {
    struct Piece {
        Segment segment;          // without pointers
        StripLayout strips;       // of layouts that are strips
        std::uint64_t begin = 0;  // in the weight's memory
        std::vector<int> parts;   // which lie in it, in order
    };
    std::vector<Piece> pieces;
    std::uint64_t bytes = 0;
    bool exact = false;
    HeadRows heads;  // that rows are ordered for, where they can be
    std::string kernel, fallback;
};
// `table`: only rows are looked up, values must stay as they are. `heads`: of q, k and v; rotary_dim 0: rows stay in order.
WeightPlan plan_weight(std::span<const PackedWeight> parts, Fuse fuse, Activations activations, bool table,
                       const HeadRows& heads = {});

class WeightLoader {
public:
    explicit WeightLoader(const Stream& stream);
    std::unique_ptr<CudaWeight> load(std::span<const PackedWeight> parts, Fuse fuse, Activations activations, bool table,
                                     const HeadRows& heads = {});
    // Gives back the chunks; they come again when they are needed.
    void release();

private:
    void load_part(const PackedWeight& part, StripPlace place, const Segment& to);

    struct Chunk {
        PinnedMemory host;
        DeviceMemory device;
        Event copied;
        bool used = false;
    };
    Chunk& next_chunk(std::size_t bytes);

    const Stream& stream_;
    ThreadPool threads_;
    std::array<Chunk, 2> chunks_;
    std::size_t turn_ = 0;
};

}  // namespace narae::kernels::cuda
