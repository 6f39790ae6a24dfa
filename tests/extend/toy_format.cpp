// What it costs to add a number format: this file. Ternary weights: 16 codes of 2 bits (0: -1, 1: 0, 2: +1; 3 is +2), then a
// float16 scale.
#include "formats/format.h"
#include "tensor/scalar.h"

#include <cmath>
#include <cstring>

namespace narae {
namespace {

constexpr std::int64_t kBlock = 16, kBytes = 6;

void unpack(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) {
    const std::int64_t blocks = weight.in / kBlock;
    for (std::int64_t b = row_begin * blocks; b < row_end * blocks; ++b) {
        const std::byte* block = weight.codes().data() + b * kBytes;
        std::uint32_t codes;
        std::uint16_t scale;
        std::memcpy(&codes, block, sizeof codes);
        std::memcpy(&scale, block + 4, sizeof scale);
        for (int i = 0; i < kBlock; ++i)
            *values++ = to_float(Half{scale}) * static_cast<float>(static_cast<int>(codes >> (2 * i) & 3u) - 1);
    }
}

void pack(const float* values, std::int64_t count, std::byte* out) {
    for (std::int64_t b = 0; b < count / kBlock; ++b, values += kBlock, out += kBytes) {
        float largest = 0.0f;
        for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(values[i]));
        std::uint32_t codes = 0;
        for (int i = 0; i < kBlock; ++i) {
            const float ratio = largest > 0.0f ? values[i] / largest : 0.0f;
            codes |= (ratio > 0.5f ? 2u : ratio < -0.5f ? 0u : 1u) << (2 * i);
        }
        const std::uint16_t scale = to_half(largest).bits;
        std::memcpy(out, &codes, sizeof codes);
        std::memcpy(out + 4, &scale, sizeof scale);
    }
}

const Format kFormat{.name = "toy_ternary",
                     .block = kBlock,
                     .block_bytes = kBytes,
                     .dtype = {},
                     .gguf_type = {},
                     .unpack = unpack,
                     .pack = pack};
const RegisterFormat kRegister(kFormat);

}  // namespace
}  // namespace narae
