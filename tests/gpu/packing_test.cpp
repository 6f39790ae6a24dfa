// Weights on the card against the specification of strips (formats/strips.h), byte for byte.
#include "formats/strips.h"
#include "gpu/gpu.h"
#include "kernels/cuda/weight.h"
#include "support/random_weights.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace narae::test {
namespace {

using kernels::Activations;
using kernels::Fuse;
namespace cuda = kernels::cuda;

class Packing : public Gpu {
protected:
    std::vector<std::byte> on_card(const std::unique_ptr<kernels::cuda::CudaBackend>& backend, const cuda::CudaWeight& weight) {
        std::vector<std::byte> bytes(weight.memory.size());
        backend->copy_to_host(make_tensor(weight.memory.data(), DType::u8, {static_cast<std::int64_t>(bytes.size())}), bytes);
        return bytes;
    }
};

TEST_F(Packing, StripsAreTheSpecifications) {
    const auto backend = open();
    for (const char* name : {"q4_0", "q4_1", "q8_0", "q6_k"})
        for (const Fuse fuse : {Fuse::none, Fuse::rows, Fuse::interleaved})
            for (const std::int64_t out : {1, 7, 8, 16, 17, 40, 515})
                for (const std::int64_t in : {256, 768}) {
                    const Format& format = *find_format(name);
                    std::vector<OwnedWeight> owned;
                    std::vector<PackedWeight> parts;
                    const int count = fuse == Fuse::none ? 1 : fuse == Fuse::rows ? 3 : 2;
                    for (int p = 0; p < count; ++p) {
                        owned.push_back(random_weight(format, fuse == Fuse::rows ? out + p : out, in,
                                                      static_cast<std::uint64_t>(p + 1), 2));
                        parts.push_back(owned.back().weight);
                    }
                    const auto prepared = backend->prepare(parts, fuse, Activations::automatic);
                    const cuda::CudaWeight& weight = cuda::cuda_weight(*prepared);
                    ASSERT_EQ(weight.segments.size(), 1u);
                    const StripLayout layout = strip_layout(*strip_kind_of(format), weight.segments[0].rows, in);
                    std::vector<std::byte> expected(weight.memory.size());
                    StripPlace place{.first = 0, .interleaved = fuse == Fuse::interleaved};
                    for (const PackedWeight& part : parts) {
                        pack_strips(part, layout, place, expected);
                        place.first += place.interleaved ? 8 : part.out;
                    }
                    EXPECT_TRUE(on_card(backend, weight) == expected)
                        << name << ", fuse " << static_cast<int>(fuse) << ", [" << out << ", " << in << "]";
                }
}

TEST_F(Packing, HeadsThatRotateLieInTheirOrder) {
    const auto backend = open();
    for (const char* name : {"q4_0", "q4_1", "q8_0", "q6_k"})
        for (const bool interleaved : {false, true})
            for (const auto& [head_dim, rotary_dim, heads] :
                 {std::array{128, 128, 5}, {64, 32, 3}, {80, 80, 2}, {256, 64, 16}}) {
                const Format& format = *find_format(name);
                const bool long_rows = heads == 16 && name == std::string_view("q8_0");  // more than one chunk
                const std::int64_t in = long_rows ? 8192 : 256;
                const kernels::HeadRows rows{std::int64_t{heads + 1} * head_dim, head_dim, {rotary_dim, interleaved}};
                std::vector<OwnedWeight> owned;
                std::vector<PackedWeight> parts;
                for (const std::int64_t out : {heads * head_dim, head_dim, head_dim}) {
                    owned.push_back(random_weight(format, out, in, owned.size() + 1, 2));
                    parts.push_back(owned.back().weight);
                }
                const auto prepared = backend->prepare_qkv(parts, rows, Activations::automatic);
                const cuda::CudaWeight& weight = cuda::cuda_weight(*prepared);
                ASSERT_EQ(weight.segments.size(), 1u);
                const StripLayout layout = strip_layout(*strip_kind_of(format), weight.segments[0].rows, in);
                std::vector<std::byte> expected(weight.memory.size());
                StripPlace place;
                for (std::size_t p = 0; p < parts.size(); ++p) {
                    place.heads = p < 2 ? HeadOrder{head_dim, rotary_dim, interleaved} : HeadOrder{};
                    pack_strips(parts[p], layout, place, expected);
                    place.first += parts[p].out;
                }
                EXPECT_TRUE(on_card(backend, weight) == expected) << name << ", heads of " << head_dim << ", " << rotary_dim
                                                                  << " rotate" << (interleaved ? ", interleaved" : "");
            }
}

TEST_F(Packing, AWeightOfManyChunksArrivesWhole) {
    const auto backend = open();
    const Format& format = *find_format("q8_0");
    const OwnedWeight owned = random_weight(format, 20000, 4096, 5);  // 87 MB
    const auto prepared = backend->prepare(std::span(&owned.weight, 1), Fuse::none, Activations::automatic);
    const cuda::CudaWeight& weight = cuda::cuda_weight(*prepared);
    const StripLayout layout = strip_layout(StripKind::q8, 20000, 4096);
    std::vector<std::byte> expected(weight.memory.size());
    pack_strips(owned.weight, layout, {}, expected);
    EXPECT_TRUE(on_card(backend, weight) == expected);
}

}  // namespace
}  // namespace narae::test
