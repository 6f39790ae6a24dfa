// One safetensors file, as views into its bytes. Layouts put the files of a folder together.
// Source: huggingface/safetensors README.md and safetensors/src/tensor.rs; limits of untrusted input on top. Stricter than
// the original in this: duplicate names are refused, ranks over 8 and names over 4 KiB too.
#pragma once

#include "checkpoint/checkpoint.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

inline constexpr std::uint64_t kSafetensorsHeaderLimit = 100'000'000;
inline constexpr std::uint64_t kSafetensorsTensorLimit = 1 << 20;
inline constexpr std::uint64_t kSafetensorsNameLimit = 4096;

struct SafetensorsTensor {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    std::span<const std::byte> bytes;  // at any alignment
};

// Checks everything. In the order of the data. The views live as long as `file`. BadFileError naming `what` and the field.
std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> file, std::string_view what);

// Writes a folder with config.json, weights and text files; see Layout::save.
void save_safetensors(const CheckpointToSave& contents, const Path& target);

}  // namespace narae
