// Number formats: how a weight lies in memory and what value each code means. A format is one file in this folder: an
// obvious reference unpack (and pack, where narae can choose the codes by itself), registered by a RegisterFormat object.
// Methods (who chooses the codes) live in quant/, file layouts (how it is stored) in checkpoint/.
#pragma once

#include "tensor/dtype.h"
#include "tensor/tensor.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

class MappedFile;
struct PackedWeight;

struct Format {
    std::string_view name;                   // "q4_0", "bf16", ...
    std::int64_t block = 1;                  // consecutive elements along `in` that share one block; `in` must be a multiple
    std::int64_t block_bytes = 0;            // bytes of one block in buffer 0 (the codes)
    std::optional<DType> dtype;              // set for dense formats
    std::optional<std::uint32_t> gguf_type;  // ggml's type number

    // Writes the exact values code x scale of rows [row_begin, row_end) as float32 [rows, in]. The specification.
    void (*unpack)(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) = nullptr;

    // Chooses codes for `count` values (a multiple of `block`) by the format's own reference rule; nullptr when only a
    // method of quant/ can fill the format. Writes count / block * block_bytes bytes.
    void (*pack)(const float* values, std::int64_t count, std::byte* codes) = nullptr;

    std::int64_t row_bytes(std::int64_t in) const { return in / block * block_bytes; }
};

// One weight matrix in canonical form: the format and its buffers, usually views into a mapped file. Owns nothing.
struct PackedWeight {
    const Format* format = nullptr;
    std::int64_t out = 0, in = 0;  // logical shape [out, in]; a vector is [1, in]
    std::vector<std::span<const std::byte>>
        buffers;                       // [0]: codes, row-major blocks [out, in / block]; formats with more say so
    std::string name;                  // for messages
    const MappedFile* file = nullptr;  // that the buffers view, so that pages may be released once read; null: other memory

    std::span<const std::byte> codes() const { return buffers.empty() ? std::span<const std::byte>{} : buffers[0]; }
    std::uint64_t bytes() const;  // of all buffers
};

// Checks that the buffers have the sizes that format and shape ask for; BadFileError naming the weight.
void validate(const PackedWeight& weight);

// All values as float32 [out, in]; for tests, conversion and small tensors.
std::vector<float> unpack_all(const PackedWeight& weight);

std::span<const Format* const> all_formats();      // sorted by name
const Format* find_format(std::string_view name);  // nullptr when unknown
const Format* find_format(DType dtype);            // the dense one
const Format* find_gguf_format(std::uint32_t gguf_type);

struct RegisterFormat {
    explicit RegisterFormat(const Format& format);  // before main; `format` must live as long as the program
};

}  // namespace narae
