#include "checkpoint/gguf.h"

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/byte_reader.h"
#include "text/unicode.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace narae {
namespace {

using Type = Metadata::Type;

constexpr std::string_view kMagic = "GGUF";
// The least that an entry or a tensor takes: bounds the counts before anything is allocated for them.
constexpr std::uint64_t kLeastEntryBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 1 + 4 + 4 + 8;
constexpr std::uint32_t kMaxDims = 4;

struct TypeName {
    std::uint32_t type;
    std::string_view name;
};
constexpr TypeName kTypeNames[] = {
    {0, "F32"},      {1, "F16"},     {2, "Q4_0"},     {3, "Q4_1"},   {6, "Q5_0"},    {7, "Q5_1"},   {8, "Q8_0"},
    {9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},    {12, "Q4_K"},  {13, "Q5_K"},   {14, "Q6_K"},  {15, "Q8_K"},
    {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},
    {23, "IQ4_XS"},  {24, "I8"},     {25, "I16"},     {26, "I32"},   {27, "I64"},    {28, "F64"},   {29, "IQ1_M"},
    {30, "BF16"},    {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"}, {40, "NVFP4"},  {41, "Q1_0"},  {42, "Q2_0"},
};

// Types that hold plain numbers which are no weights.
std::optional<DType> plain_dtype(std::uint32_t type) {
    switch (type) {
        case 24:
            return DType::i8;
        case 25:
            return DType::i16;
        case 26:
            return DType::i32;
        case 27:
            return DType::i64;
        case 28:
            return DType::f64;
        default:
            return std::nullopt;
    }
}

std::string supported_types() {
    std::string list;
    for (const TypeName& each : kTypeNames)
        if (find_gguf_format(each.type)) list += fmt::format("{}{}", list.empty() ? "" : ", ", each.name);
    return list;
}

// Readers in C take a zero byte for the end: two names could be one to them.
bool is_name(std::string_view text) { return unicode::is_valid(text) && text.find('\0') == std::string_view::npos; }

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment, std::string_view what) {
    return checked_add(value, alignment - 1, what) / alignment * alignment;
}

// Reads one file from its start to its tensors; keeps what later steps need to know of earlier ones.
class GgufParser {
public:
    GgufParser(std::span<const std::byte> file, std::string_view what) : bytes_(file), what_(what), reader_(file, what) {
        parsed_.metadata.what = what;
    }

    void parse_metadata() {
        read_start();
        read_metadata();
        read_alignment();
    }

    void parse_tensors() {
        read_tensors();
        place_tensors();
    }

    GgufFile& parsed() { return parsed_; }

private:
    void read_start() {
        if (!is_gguf(bytes_))
            throw_error<BadFileError>("{}: magic: does not begin with \"GGUF\"; it is no GGUF file, or its download failed",
                                      what_);
        reader_.take(kMagic.size(), {"magic"});
        parsed_.version = reader_.number<std::uint32_t>({"version"});
        if (parsed_.version != 0 && (parsed_.version & 0xFFFF) == 0)
            throw_error<BadFileError>(
                "{}: version: {:#010x} is byte-swapped, the file was written for big-endian machines; need a "
                "little-endian one",
                what_, parsed_.version);
        if (parsed_.version == 1)
            throw_error<BadFileError>(
                "{}: version: found 1, need 2 or 3; convert it with an old llama.cpp, or fetch a newer file", what_);
        if (parsed_.version != 2 && parsed_.version != 3)
            throw_error<BadFileError>("{}: version: found {}, need 2 or 3", what_, parsed_.version);
        tensor_count_ = reader_.number<std::uint64_t>({"tensor count"});
        entry_count_ = reader_.number<std::uint64_t>({"metadata count"});
        check_count("tensor count", tensor_count_, kGgufTensorLimit, kLeastTensorBytes);
        check_count("metadata count", entry_count_, kGgufEntryLimit, kLeastEntryBytes);
    }

    void check_count(std::string_view field, std::uint64_t count, std::uint64_t limit, std::uint64_t least_bytes) const {
        if (count > limit) throw_error<BadFileError>("{}: {}: found {}, need at most {}", what_, field, count, limit);
        if (count > reader_.left() / least_bytes)
            throw_error<BadFileError>("{}: {}: found {}, which do not fit into the file's {} bytes", what_, field, count,
                                      bytes_.size());
    }

    void read_metadata() {
        std::vector<std::string_view> keys;
        keys.reserve(entry_count_);
        for (std::uint64_t i = 0; i < entry_count_; ++i) {
            const std::string_view key = reader_.string(kGgufKeyLimit, {"metadata key"});
            if (key.empty()) throw_error<BadFileError>("{}: metadata key {} is empty", what_, i);
            if (!is_name(key)) throw_error<BadFileError>("{}: metadata key {} is not valid UTF-8 without zero bytes", what_, i);
            parsed_.metadata.add({key, read_value(key)});
            keys.push_back(key);
        }
        std::ranges::sort(keys);
        if (const auto twice = std::ranges::adjacent_find(keys); twice != keys.end())
            throw_error<BadFileError>("{}: metadata key \"{}\" is there twice", what_, *twice);
    }

    Type read_type(std::string_view part, std::string_view key) {
        const auto number = reader_.number<std::uint32_t>({part, key});
        if (number > static_cast<std::uint32_t>(Type::f64))
            throw_error<BadFileError>("{}: {} of \"{}\": found {}, need 0 to {}", what_, part, key, number,
                                      static_cast<std::uint32_t>(Type::f64));
        return static_cast<Type>(number);
    }

    Metadata::Value read_value(std::string_view key) {
        Metadata::Value value;
        value.type = read_type("value type", key);
        if (value.type == Type::array) {
            read_array(value, key);
        } else if (value.type == Type::string) {
            const std::string_view text = reader_.string(kGgufStringLimit, {"value", key});
            value.bytes = std::as_bytes(std::span(text.data(), text.size()));
        } else {
            value.bytes = reader_.take(metadata_type_bytes(value.type), {"value", key});
            if (value.type == Type::boolean) check_booleans(value.bytes, key);
        }
        return value;
    }

    void read_array(Metadata::Value& value, std::string_view key) {
        value.element = read_type("element type", key);
        value.count = reader_.number<std::uint64_t>({"array length", key});
        if (value.element == Type::array)
            throw_error<BadFileError>("{}: element type of \"{}\": arrays of arrays are not supported", what_, key);
        if (value.count > kGgufArrayLimit)
            throw_error<BadFileError>("{}: array length of \"{}\": found {}, need at most {}", what_, key, value.count,
                                      kGgufArrayLimit);
        if (value.element == Type::string) {
            if (value.count > reader_.left() / sizeof(std::uint64_t))
                throw_error<BadFileError>("{}: array length of \"{}\": {} strings do not fit into the {} bytes left", what_,
                                          key, value.count, reader_.left());
            value.bytes = reader_.strings(value.count, kGgufStringLimit, {"array element", key});
        } else {
            value.bytes = reader_.take(value.count * metadata_type_bytes(value.element), {"array", key});
            if (value.element == Type::boolean) check_booleans(value.bytes, key);
        }
    }

    void check_booleans(std::span<const std::byte> values, std::string_view key) const {
        for (const std::byte value : values)
            if (value > std::byte{1})
                throw_error<BadFileError>("{}: value of \"{}\": a bool of {}, need 0 or 1", what_, key,
                                          static_cast<int>(value));
    }

    void read_alignment() {
        constexpr std::string_view kKey = "general.alignment";
        const Metadata::Value* value = parsed_.metadata.find(kKey);
        if (!value) return;
        if (value->type != Type::u32)
            throw_error<BadFileError>("{}: metadata \"{}\": found {}, need u32", what_, kKey, metadata_type_name(value->type));
        parsed_.alignment = load_number<std::uint32_t>(value->bytes.data());
        if (!std::has_single_bit(parsed_.alignment) || parsed_.alignment < 8 || parsed_.alignment > 4096)
            throw_error<BadFileError>("{}: metadata \"{}\": found {}, need a power of two from 8 to 4096", what_, kKey,
                                      parsed_.alignment);
    }

    void read_tensors() {
        parsed_.tensors.reserve(tensor_count_);
        sizes_.reserve(tensor_count_);
        for (std::uint64_t i = 0; i < tensor_count_; ++i) read_tensor(i);
        std::vector<std::string_view> names;
        names.reserve(tensor_count_);
        for (const GgufTensor& tensor : parsed_.tensors) names.push_back(tensor.name);
        std::ranges::sort(names);
        if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
            throw_error<BadFileError>("{}: tensor \"{}\" is there twice", what_, *twice);
    }

    void read_tensor(std::uint64_t index) {
        GgufTensor tensor;
        tensor.name = reader_.string(kGgufNameLimit, {"tensor name"});
        if (tensor.name.empty()) throw_error<BadFileError>("{}: the name of tensor {} is empty", what_, index);
        if (!is_name(tensor.name))
            throw_error<BadFileError>("{}: the name of tensor {} is not valid UTF-8 without zero bytes", what_, index);

        const auto dims = reader_.number<std::uint32_t>({"number of dimensions", tensor.name});
        if (dims > kMaxDims)
            throw_error<BadFileError>("{}: number of dimensions of \"{}\": found {}, need at most {}", what_, tensor.name, dims,
                                      kMaxDims);
        std::int64_t shape[kMaxDims] = {};
        for (std::uint32_t axis = 0; axis < dims; ++axis) {
            const auto size = reader_.number<std::uint64_t>({"dimension", tensor.name});
            if (size == 0 || size > static_cast<std::uint64_t>(INT64_MAX))
                throw_error<BadFileError>("{}: dimension {} of \"{}\": found {}, need 1 to 2^63 - 1", what_, axis, tensor.name,
                                          static_cast<std::int64_t>(size));
            shape[dims - 1 - axis] = static_cast<std::int64_t>(size);
        }
        tensor.shape = Shape(std::span<const std::int64_t>(shape, dims));
        sizes_.push_back(read_type_and_size(tensor));
        tensor.offset = reader_.number<std::uint64_t>({"offset", tensor.name});
        if (tensor.offset % parsed_.alignment != 0)
            throw_error<BadFileError>("{}: offset of \"{}\": {} is not a multiple of the alignment {}", what_, tensor.name,
                                      tensor.offset, parsed_.alignment);
        parsed_.tensors.push_back(tensor);
    }

    // Bytes of the tensor's data.
    std::uint64_t read_type_and_size(GgufTensor& tensor) {
        const auto type = reader_.number<std::uint32_t>({"type", tensor.name});
        tensor.format = find_gguf_format(type);
        if (!tensor.format) tensor.dtype = plain_dtype(type);
        if (!tensor.format && !tensor.dtype)
            throw_error<BadFileError>(
                "{}: type of \"{}\": {} is not supported, need one of {}; try the model in another quantization", what_,
                tensor.name, gguf_type_name(type), supported_types());
        const auto block = tensor.format ? static_cast<std::uint64_t>(tensor.format->block) : 1;
        const auto block_bytes =
            static_cast<std::uint64_t>(tensor.format ? tensor.format->block_bytes : dtype_bits(*tensor.dtype) / 8);
        const int rank = tensor.shape.rank();
        const auto in = static_cast<std::uint64_t>(rank > 0 ? tensor.shape[rank - 1] : 1);
        if (in % block != 0)
            throw_error<BadFileError>("{}: dimension 0 of \"{}\": {} is not a multiple of the {} elements of a {} block", what_,
                                      tensor.name, in, block, gguf_type_name(type));
        std::uint64_t elements = 1;
        for (const std::int64_t dim : tensor.shape.dims())
            if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(dim), &elements) ||
                elements > static_cast<std::uint64_t>(INT64_MAX))
                throw_error<BadFileError>("{}: shape {} of \"{}\": the number of elements overflows", what_,
                                          tensor.shape.to_string(), tensor.name);
        std::uint64_t bytes = 0;
        if (__builtin_mul_overflow(elements / block, block_bytes, &bytes))
            throw_error<BadFileError>("{}: shape {} of \"{}\": the number of bytes overflows", what_, tensor.shape.to_string(),
                                      tensor.name);
        return bytes;
    }

    // Finds each tensor's bytes: inside the data section, none in another.
    void place_tensors() {
        const std::uint64_t data_begin = align_up(reader_.offset(), parsed_.alignment, what_);
        const auto data = data_begin < bytes_.size() ? bytes_.subspan(data_begin) : std::span<const std::byte>();
        for (std::size_t i = 0; i < parsed_.tensors.size(); ++i) {
            GgufTensor& tensor = parsed_.tensors[i];
            if (tensor.offset > data.size() || sizes_[i] > data.size() - tensor.offset)
                throw_error<BadFileError>(
                    "{}: data of \"{}\": {} bytes at offset {}, the data section has {}; the file is truncated or "
                    "damaged, fetch it again",
                    what_, tensor.name, sizes_[i], tensor.offset, data.size());
            tensor.bytes = data.subspan(tensor.offset, sizes_[i]);
        }
        std::vector<std::size_t> order(parsed_.tensors.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::sort(order, {}, [&](std::size_t i) { return parsed_.tensors[i].offset; });
        for (std::size_t i = 1; i < order.size(); ++i) {
            const GgufTensor &before = parsed_.tensors[order[i - 1]], &tensor = parsed_.tensors[order[i]];
            if (tensor.offset - before.offset < before.bytes.size())
                throw_error<BadFileError>("{}: offset of \"{}\": {} lies in the data of \"{}\", which ends at {}", what_,
                                          tensor.name, tensor.offset, before.name, before.offset + before.bytes.size());
        }
    }

    std::span<const std::byte> bytes_;
    std::string_view what_;
    ByteReader reader_;
    GgufFile parsed_;
    std::uint64_t tensor_count_ = 0, entry_count_ = 0;
    std::vector<std::uint64_t> sizes_;  // of the tensors' data in bytes
};

}  // namespace

bool is_gguf(std::span<const std::byte> file) {
    return file.size() >= kMagic.size() && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
}

GgufFile parse_gguf(std::span<const std::byte> file, std::string_view what) {
    GgufParser parser(file, what);
    parser.parse_metadata();
    parser.parse_tensors();
    return std::move(parser.parsed());
}

Metadata parse_gguf_metadata(std::span<const std::byte> file, std::string_view what) {
    GgufParser parser(file, what);
    parser.parse_metadata();
    return std::move(parser.parsed().metadata);
}

std::string gguf_type_name(std::uint32_t type) {
    const auto entry = std::ranges::find(kTypeNames, type, &TypeName::type);
    return entry == std::end(kTypeNames) ? fmt::format("type {}", type) : std::string(entry->name);
}

}  // namespace narae
