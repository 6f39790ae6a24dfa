#include "tensor/npy.h"

#include "base/checked.h"

#include <charconv>
#include <cstring>
#include <optional>

namespace narae {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kHeaderUnit = 64;  // the data starts at a multiple of this
constexpr std::size_t kLongestHeader = 1 << 16;

struct Descriptor {
    DType dtype;
    std::string_view name;
};

constexpr Descriptor kDescriptors[] = {
    {DType::f64, "<f8"}, {DType::f32, "<f4"},     {DType::f16, "<f2"}, {DType::i64, "<i8"}, {DType::i32, "<i4"},
    {DType::i16, "<i2"}, {DType::i8, "|i1"},      {DType::u64, "<u8"}, {DType::u32, "<u4"}, {DType::u16, "<u2"},
    {DType::u8, "|u1"},  {DType::boolean, "|b1"}, {DType::c64, "<c8"},
};

std::string_view descriptor(DType dtype) {
    for (const Descriptor& d : kDescriptors)
        if (d.dtype == dtype) return d.name;
    throw_error<UsageError>("npy: NumPy has no element type {}; try F32", dtype_name(dtype));
}

std::uint64_t data_bytes(DType dtype, const Shape& shape, std::string_view what) {
    return checked_mul(static_cast<std::uint64_t>(shape.elements()), static_cast<std::uint64_t>(dtype_bits(dtype) / 8), what);
}

std::string header_text(DType dtype, const Shape& shape) {
    std::string dims;
    for (const std::int64_t dim : shape.dims()) dims += fmt::format("{}, ", dim);
    if (shape.rank() > 1) dims.resize(dims.size() - 2);
    if (shape.rank() == 1) dims.resize(dims.size() - 1);  // "(3,)"
    std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descriptor(dtype), dims);
    const std::size_t before = kMagic.size() + 4;  // two version bytes and the length
    text.append(kHeaderUnit - 1 - (before + text.size()) % kHeaderUnit, ' ');
    text += '\n';
    std::string file(kMagic);
    file += '\x01';
    file += '\x00';
    file += static_cast<char>(text.size() & 0xff);
    file += static_cast<char>(text.size() >> 8);
    return file + text;
}

// Reads the header's Python literal: a dictionary of strings, booleans and a tuple of integers.
class HeaderReader {
public:
    HeaderReader(std::string_view text, std::string_view what) : rest_(text), what_(what) {}

    bool take(char c) {
        skip_space();
        if (rest_.empty() || rest_.front() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }

    void need(char c) {
        if (!take(c)) fail(fmt::format("'{}'", c));
    }

    std::string_view string() {
        const char quote = take('"') ? '"' : '\'';
        if (quote == '\'') need(quote);
        const std::size_t end = rest_.find(quote);
        if (end == std::string_view::npos) fail("a closing quote");
        const std::string_view text = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return text;
    }

    bool boolean() {
        skip_space();
        for (const std::string_view word : {std::string_view("False"), std::string_view("True")})
            if (rest_.starts_with(word)) {
                rest_.remove_prefix(word.size());
                return word == "True";
            }
        fail("True or False");
    }

    Shape shape() {
        std::vector<std::int64_t> dims;
        need('(');
        while (!take(')')) {
            if (dims.size() == kMaxRank) fail(fmt::format("at most {} dimensions", kMaxRank));
            skip_space();
            std::int64_t dim = 0;
            const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), dim);
            if (error != std::errc()) fail("a dimension");
            rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
            dims.push_back(dim);
            if (!take(',')) {
                need(')');
                break;
            }
        }
        return Shape(dims);
    }

    [[noreturn]] void fail(std::string_view needed) const {
        throw_error<BadFileError>("{}: .npy header, found '{}', need {}", what_, rest_.substr(0, 20), needed);
    }

private:
    void skip_space() {
        while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
    }

    std::string_view rest_, what_;
};

void read_header(std::string_view text, std::string_view what, NpyArray& array) {
    HeaderReader reader(text, what);
    std::optional<DType> dtype;
    std::optional<Shape> shape;
    reader.need('{');
    while (!reader.take('}')) {
        const std::string_view key = reader.string();
        reader.need(':');
        if (key == "descr") {
            const std::string_view name = reader.string();
            for (const Descriptor& d : kDescriptors)
                if (d.name == name) dtype = d.dtype;
            if (!dtype) throw_error<BadFileError>("{}: .npy element type {}, need a little-endian number", what, name);
        } else if (key == "fortran_order") {
            if (reader.boolean()) throw_error<BadFileError>("{}: .npy in Fortran order, need C order", what);
        } else if (key == "shape") {
            shape = reader.shape();
        } else {
            reader.fail("descr, fortran_order or shape");
        }
        if (!reader.take(',')) {
            reader.need('}');
            break;
        }
    }
    if (!dtype || !shape) throw_error<BadFileError>("{}: .npy header without {}", what, dtype ? "shape" : "descr");
    array.dtype = *dtype;
    array.shape = *shape;
}

}  // namespace

NpyWriter::NpyWriter(const Path& path, DType dtype, Shape shape) : file_(path), expected_(data_bytes(dtype, shape, "npy")) {
    file_.write(header_text(dtype, shape));
}

void NpyWriter::append(std::span<const std::byte> bytes) {
    file_.write(bytes);
    appended_ += bytes.size();
}

void NpyWriter::commit() {
    NARAE_CHECK(appended_ == expected_, "{} bytes appended, the shape has {}", appended_, expected_);
    file_.commit();
}

NpyArray parse_npy(std::span<const std::byte> file, std::string_view what) {
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    if (!text.starts_with(kMagic) || text.size() < kMagic.size() + 2)
        throw_error<BadFileError>("{}: not a .npy file, need the magic bytes \\x93NUMPY", what);
    const int version = static_cast<unsigned char>(text[kMagic.size()]);
    if (version < 1 || version > 3) throw_error<BadFileError>("{}: .npy version {}, need 1, 2 or 3", what, version);
    const std::size_t length_bytes = version == 1 ? 2 : 4;
    const std::size_t start = kMagic.size() + 2 + length_bytes;
    if (text.size() < start) throw_error<BadFileError>("{}: ends inside the .npy header", what);
    std::size_t length = 0;
    for (std::size_t i = 0; i < length_bytes; ++i)
        length |= std::size_t{static_cast<unsigned char>(text[kMagic.size() + 2 + i])} << (8 * i);
    if (length > kLongestHeader || length > text.size() - start)
        throw_error<BadFileError>("{}: .npy header of {} bytes, the file has {} and at most {} are read", what, length,
                                  text.size() - start, kLongestHeader);

    NpyArray array;
    read_header(text.substr(start, length), what, array);
    const std::span<const std::byte> data = file.subspan(start + length);
    const std::uint64_t needed = data_bytes(array.dtype, array.shape, what);
    if (data.size() != needed)
        throw_error<BadFileError>("{}: .npy data of {} bytes, shape {} of {} needs {}", what, data.size(),
                                  array.shape.to_string(), dtype_name(array.dtype), needed);
    array.bytes.assign(data.begin(), data.end());
    return array;
}

NpyArray read_npy(const Path& path) {
    const MappedFile file(path);
    return parse_npy(file.bytes(), path.string());
}

}  // namespace narae
