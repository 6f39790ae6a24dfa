// Random values and packed weights for tests. The same seed gives the same numbers everywhere.
#pragma once

#include "formats/format.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace narae::test {

// Normally distributed with the given standard deviation; one in 128 is 20 times larger, as in real activations.
std::vector<float> random_values(std::size_t count, std::uint64_t seed, float deviation = 1.0f);

// `values` [out, in] in a format that can pack, in its usual scaling.
OwnedWeight pack_weight(const Format& format, std::int64_t out, std::int64_t in, std::span<const float> values);

// A weight [out, in] of any registered format; `in` a multiple of format.block. Formats that pack get random_values of
// deviation 0.05; the others random codes with scales that give about that deviation. Formats with scales in a buffer get small
// groups, and by the seed what they leave open (zeros, offsets, a group index, double quantization). Every buffer begins
// `offset` bytes after an address that is a multiple of 64.
OwnedWeight random_weight(const Format& format, std::int64_t out, std::int64_t in, std::uint64_t seed, std::size_t offset = 0);

}  // namespace narae::test
