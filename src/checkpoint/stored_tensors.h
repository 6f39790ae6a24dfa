// How readers put what they found into a Checkpoint.
#pragma once

#include "checkpoint/checkpoint.h"

#include <memory>
#include <span>
#include <string_view>

namespace narae {

// [out, in] of a shape: out is the product of all axes but the last. A vector is [1, n], a scalar [1, 1].
struct OutIn {
    std::int64_t out = 1, in = 1;
};
OutIn out_in(const Shape& shape);

// Maps the file and makes it the checkpoint's.
const MappedFile& map_file(Checkpoint& checkpoint, const Path& path);

// Adds a weight whose bytes have the size that format and shape ask for.
void add_weight(Checkpoint& checkpoint, std::string_view name, const Shape& shape, const Format& format,
                std::span<const std::byte> bytes, const MappedFile* file);
void add_other(Checkpoint& checkpoint, std::string_view name, const Shape& shape, DType dtype,
               std::span<const std::byte> bytes);

// Sorts by name. BadFileError when a name is there twice (in two files of one model).
void finish_tensors(Checkpoint& checkpoint);

// A weight or another tensor, in a finished checkpoint.
bool has_tensor(const Checkpoint& checkpoint, std::string_view name);

}  // namespace narae
