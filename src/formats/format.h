// Number formats: how a weight lies in memory and what value each code means. A format is one file in this folder: an
// obvious reference unpack (and pack, where narae can choose the codes by itself), registered by a RegisterFormat object.
// Methods (who chooses the codes) live in quant/, file layouts (how it is stored) in checkpoint/.
//
// A weight is one matrix. In dense formats and GGUF's blocks everything lies in its codes. The other formats have their scales
// in buffers beside the codes, named by their role, and say with a Scaling which elements share a scale. This canonical form
// holds without loss what the file layouts of AutoAWQ, GPTQ, bitsandbytes and compressed-tensors can say.
#pragma once

#include "tensor/dtype.h"
#include "tensor/tensor.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

class MappedFile;
struct PackedWeight;
struct OwnedWeight;

// What a buffer holds. Numbers are little-endian, and a buffer may begin at any address.
enum class BufferRole : std::uint8_t {
    codes,             // as the format says
    scales,            // [blocks of rows, blocks of columns] of Scaling::dtype
    zeros,             // u8, as many as scales: integer zero points; value = (code - zero) * scale
    offsets,           // as many as scales and of their type; value = code * scale + offset, rounded once
    group_index,       // i32 [in]: the group of each input column, where that is not column / group size (GPTQ's g_idx)
    code_book,         // f32 [16]: the value of each code
    nested_scales,     // f32: where scales are codes themselves, the scale of each nested block of them
    nested_code_book,  // f32 [256]: the value of each such code
    nested_offset,     // f32 [1]: what is added to every scale
    global_scale,      // f32 [1]: what every scale is divided by
};
inline constexpr int kBufferRoles = 10;
std::string_view role_name(BufferRole role);  // "codes", "nested code book", ...

struct PackedBuffer {
    std::span<const std::byte> bytes;
    BufferRole role = BufferRole::codes;
    PackedBuffer(std::span<const std::byte> memory, BufferRole holds = BufferRole::codes) : bytes(memory), role(holds) {}
};

// Which elements share a scale, in formats with a buffer of scales: blocks of [rows, columns]. The last blocks may be cut off
// by the weight's end. A scale for each row has {1, kWhole}, one for the whole weight {kWhole, kWhole}.
inline constexpr std::int64_t kWhole = std::numeric_limits<std::int64_t>::max();
struct Scaling {
    std::int64_t rows = 1, columns = 0;  // 0 columns: no buffer of scales
    DType dtype = DType::f32;            // of a stored scale
    std::int64_t nested = 0;             // scales in a block of double quantization; 0: scales are numbers
    friend bool operator==(const Scaling&, const Scaling&) = default;
};

struct BufferSize {
    BufferRole role;
    std::uint64_t bytes;
};

struct Format {
    std::string_view name;         // "q4_0", "bf16", "int4", ...
    std::int64_t block = 1;        // consecutive elements along `in` that share one block; `in` must be a multiple
    std::int64_t block_bytes = 0;  // bytes of one block of codes; 0: the codes have no blocks with scales of their own
    std::optional<DType> dtype;    // set for dense formats
    std::optional<std::uint32_t> gguf_type;  // ggml's type number

    // Writes the exact values code x scale of rows [row_begin, row_end) as float32 [rows, in]. The specification.
    void (*unpack)(const PackedWeight& weight, std::int64_t row_begin, std::int64_t row_end, float* values) = nullptr;

    // Chooses codes for `count` values (a multiple of `block`) by the format's own reference rule; nullptr when only a
    // method of quant/ can fill the format. Writes count / block * block_bytes bytes.
    void (*pack)(const float* values, std::int64_t count, std::byte* codes) = nullptr;

    // Of formats with a buffer of scales: which buffers a weight of this shape and scaling has, and their sizes. Those that the
    // format leaves open (zeros, a group index, ...) are needed where the weight has them. BadFileError naming the weight when
    // the format cannot have such a scaling. nullptr: codes alone.
    std::vector<BufferSize> (*buffers)(const PackedWeight& weight) = nullptr;
    Scaling scaling = {};  // the usual one
    // Fills all buffers of a weight of make_weight from `values` [out, in] by the rule that its header calls the usual one.
    void (*pack_weight)(const float* values, const OwnedWeight& weight) = nullptr;

    std::int64_t row_bytes(std::int64_t in) const { return in / block * block_bytes; }  // formats of blocks only
};

// One weight matrix in canonical form: the format and its buffers, usually views into a mapped file. Owns nothing.
struct PackedWeight {
    const Format* format = nullptr;
    std::int64_t out = 0, in = 0;       // logical shape [out, in]; a vector is [1, in]
    std::vector<PackedBuffer> buffers;  // one of each role that the weight has
    std::string name;                   // for messages
    const MappedFile* file = nullptr;   // that the codes view, so that pages may be released once read; null: other memory
    Scaling scaling = {};               // meaningful where the format has scales in a buffer

    bool has(BufferRole role) const;
    std::span<const std::byte> bytes_of(BufferRole role) const;  // empty when there is none
    std::span<const std::byte> codes() const { return bytes_of(BufferRole::codes); }
    std::uint64_t bytes() const;     // of all buffers
    double bits_per_weight() const;  // with all buffers
};

// A weight with memory of its own, for those who fill one. Moving keeps the views valid.
struct OwnedWeight {
    Buffer buffer;
    PackedWeight weight;

    std::span<std::byte> bytes_of(BufferRole role) const;  // to write; empty when there is none
};

// Memory, zeroed, for a weight of a format with scales in a buffer; `optional`: which of the buffers that the format leaves
// open it has. BadFileError as Format::buffers. Then the codes are chosen: by Format::pack_weight, by a rule of the format's
// header, or by a method.
OwnedWeight make_weight(const Format& format, std::int64_t out, std::int64_t in, const Scaling& scaling,
                        std::span<const BufferRole> optional = {}, std::string name = {});

// Checks that there are the buffers that format, shape and scaling ask for, that they have their sizes, and that a group index
// names groups that exist; BadFileError naming the weight. Everything may be unpacked afterwards.
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
