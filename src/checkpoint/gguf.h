// The parts of one GGUF file (version 2 and 3, little-endian), as views into its bytes. Layout gguf (gguf_layout.cpp) puts
// files of a split model together; text_files.cpp reads the vocabulary.
// Source: ggml docs/gguf.md; limits of untrusted input on top.
#pragma once

#include "checkpoint/checkpoint.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace narae {

inline constexpr std::uint64_t kGgufStringLimit = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kGgufArrayLimit = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kGgufKeyLimit = 65535;       // bytes of a key
inline constexpr std::uint64_t kGgufEntryLimit = 65536;     // metadata entries
inline constexpr std::uint64_t kGgufTensorLimit = 1 << 20;  // tensors of a file
inline constexpr std::uint64_t kGgufNameLimit = 63;         // bytes of a tensor's name
inline constexpr std::uint64_t kGgufAlignment = 32;         // where general.alignment is absent

struct GgufTensor {
    std::string_view name;
    Shape shape;                     // Hugging Face order
    const Format* format = nullptr;  // or
    std::optional<DType> dtype;      // an element type that is no number format
    std::uint64_t offset = 0;        // in the data section
    std::span<const std::byte> bytes;
};

struct GgufFile {
    std::uint32_t version = 0;
    std::uint64_t alignment = kGgufAlignment;
    Metadata metadata;
    std::vector<GgufTensor> tensors;  // in the file's order
};

bool is_gguf(std::span<const std::byte> file);  // by its first bytes

// Checks everything. The views live as long as `file`. BadFileError naming `what` and the field.
GgufFile parse_gguf(std::span<const std::byte> file, std::string_view what);
// The metadata alone: also of a file whose tensors are of an unknown type or not all there.
Metadata parse_gguf_metadata(std::span<const std::byte> file, std::string_view what);

std::string_view metadata_type_name(Metadata::Type type);
std::uint64_t metadata_type_bytes(Metadata::Type type);  // of one value; 0 for strings and arrays
std::string gguf_type_name(std::uint32_t type);          // "Q4_K", "IQ2_XXS"; "type 77" when unknown

// Writes one GGUF v3 file; see Layout::save.
void save_gguf(const CheckpointToSave& contents, const Path& target);

}  // namespace narae
