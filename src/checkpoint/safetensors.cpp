#include "checkpoint/safetensors.h"

#include "base/error.h"
#include "checkpoint/byte_reader.h"
#include "checkpoint/json_scanner.h"

#include <algorithm>
#include <array>
#include <optional>

namespace narae {
namespace {

struct Entry {
    SafetensorsTensor tensor;
    std::uint64_t begin = 0, end = 0;  // in the data
};

// One value of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, in any order; other members are ignored,
// as the original does.
class EntryReader {
public:
    EntryReader(JsonScanner& scanner, std::string_view what, std::string_view name) : scanner_(scanner), what_(what) {
        entry_.tensor.name = name;
    }

    Entry read() && {
        scanner_.object([&](std::string_view key) {
            if (key == "dtype") {
                once(has_dtype_, key);
                read_dtype();
            } else if (key == "shape") {
                once(has_shape_, key);
                read_shape();
            } else if (key == "data_offsets") {
                once(has_offsets_, key);
                read_offsets();
            } else {
                scanner_.skip();
            }
        });
        if (!has_dtype_) missing("dtype");
        if (!has_shape_) missing("shape");
        if (!has_offsets_) missing("data_offsets");
        return std::move(entry_);
    }

private:
    std::string field(std::string_view part) const {
        return fmt::format("{}: tensor \"{}\": {}", what_, entry_.tensor.name, part);
    }
    [[noreturn]] void missing(std::string_view part) const { throw_error<BadFileError>("{} is missing", field(part)); }

    void once(bool& has, std::string_view part) {
        if (has) throw_error<BadFileError>("{} is there twice", field(part));
        has = true;
    }

    void read_dtype() {
        const std::string_view name = scanner_.string();
        const std::optional<DType> dtype = find_dtype(name);
        if (!dtype) throw_error<BadFileError>("{}: \"{}\" is not supported", field("dtype"), name.substr(0, 64));
        entry_.tensor.dtype = *dtype;
    }

    void read_shape() {
        std::array<std::int64_t, kMaxRank> dims{};
        std::size_t rank = 0;
        scanner_.array([&] {
            if (rank == dims.size()) throw_error<BadFileError>("{}: more than {} dimensions", field("shape"), kMaxRank);
            const std::uint64_t size = scanner_.whole_number();
            if (size > static_cast<std::uint64_t>(INT64_MAX))
                throw_error<BadFileError>("{}: dimension {} is too large", field("shape"), size);
            dims[rank++] = static_cast<std::int64_t>(size);
        });
        entry_.tensor.shape = Shape(std::span<const std::int64_t>(dims.data(), rank));
    }

    void read_offsets() {
        std::size_t count = 0;
        scanner_.array([&] {
            const std::uint64_t offset = scanner_.whole_number();
            if (count < 2) (count == 0 ? entry_.begin : entry_.end) = offset;
            ++count;
        });
        if (count != 2) throw_error<BadFileError>("{}: found {} numbers, need begin and end", field("data_offsets"), count);
    }

    JsonScanner& scanner_;
    std::string_view what_;
    Entry entry_;
    bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

// "__metadata__": an object from strings to strings; nothing in it is used.
void check_metadata(JsonScanner& scanner) {
    if (scanner.take_null()) return;
    std::vector<std::string> keys;
    scanner.object([&](std::string_view key) {
        keys.emplace_back(key);
        scanner.string();
    });
    std::ranges::sort(keys);
    if (const auto twice = std::ranges::adjacent_find(keys); twice != keys.end())
        scanner.fail(fmt::format("\"__metadata__\" has the key \"{}\" twice", *twice));
}

std::vector<Entry> read_header(std::string_view header, std::string_view what) {
    if (!header.starts_with('{'))
        throw_error<BadFileError>("{}: header: does not begin with '{{'; it is no safetensors file", what);
    const std::string scanner_what = fmt::format("{}: header", what);
    JsonScanner scanner(header, scanner_what);
    std::vector<Entry> entries;
    bool has_metadata = false;
    scanner.object([&](std::string_view key) {
        if (key == "__metadata__") {
            if (has_metadata) scanner.fail("\"__metadata__\" is there twice");
            has_metadata = true;
            return check_metadata(scanner);
        }
        if (entries.size() == kSafetensorsTensorLimit)
            scanner.fail(fmt::format("more than {} tensors", kSafetensorsTensorLimit));
        if (key.size() > kSafetensorsNameLimit)
            scanner.fail(fmt::format("a tensor's name of {} bytes, need at most {}", key.size(), kSafetensorsNameLimit));
        entries.push_back(EntryReader(scanner, what, std::string(key)).read());
    });
    scanner.end();
    return entries;
}

void check_names(const std::vector<Entry>& entries, std::string_view what) {
    std::vector<std::string_view> names;
    names.reserve(entries.size());
    for (const Entry& entry : entries) names.push_back(entry.tensor.name);
    std::ranges::sort(names);
    if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
        throw_error<BadFileError>("{}: tensor \"{}\" is there twice", what, *twice);
}

// Bytes of dtype and shape; products are taken in the order of the dimensions, as the original does.
std::uint64_t needed_bytes(const SafetensorsTensor& tensor, std::string_view what) {
    std::uint64_t bits = 1;
    bool overflow = false;
    for (const std::int64_t dim : tensor.shape.dims())
        overflow |= __builtin_mul_overflow(bits, static_cast<std::uint64_t>(dim), &bits);
    overflow |= bits > static_cast<std::uint64_t>(INT64_MAX);
    overflow |= __builtin_mul_overflow(bits, static_cast<std::uint64_t>(dtype_bits(tensor.dtype)), &bits);
    if (overflow)
        throw_error<BadFileError>("{}: tensor \"{}\": shape {}: its size overflows", what, tensor.name,
                                  tensor.shape.to_string());
    if (bits % 8 != 0)
        throw_error<BadFileError>("{}: tensor \"{}\": shape {} of {} has {} bits, need whole bytes", what, tensor.name,
                                  tensor.shape.to_string(), dtype_name(tensor.dtype), bits);
    return bits / 8;
}

// Sorted by offset the tensors must tile the data: no hole, no overlap, no tail.
void place(std::vector<Entry>& entries, std::span<const std::byte> data, std::string_view what) {
    std::ranges::sort(entries,
                      [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::uint64_t reached = 0;
    for (Entry& entry : entries) {
        SafetensorsTensor& tensor = entry.tensor;
        const std::string_view name = tensor.name;
        if (entry.begin > entry.end)
            throw_error<BadFileError>("{}: tensor \"{}\": data_offsets [{}, {}]: begin is after end", what, name, entry.begin,
                                      entry.end);
        if (entry.begin != reached)
            throw_error<BadFileError>("{}: tensor \"{}\": data_offsets [{}, {}]: {}, need {} as begin", what, name, entry.begin,
                                      entry.end, entry.begin > reached ? "leaves a hole" : "overlaps the tensor before",
                                      reached);
        const std::uint64_t need = needed_bytes(tensor, what);
        if (entry.end - entry.begin != need)
            throw_error<BadFileError>("{}: tensor \"{}\": data_offsets [{}, {}]: {} bytes, shape {} of {} needs {}", what, name,
                                      entry.begin, entry.end, entry.end - entry.begin, tensor.shape.to_string(),
                                      dtype_name(tensor.dtype), need);
        if (entry.end > data.size())
            throw_error<BadFileError>(
                "{}: tensor \"{}\": data_offsets [{}, {}]: the file has {} bytes of data; it is truncated, fetch it "
                "again",
                what, name, entry.begin, entry.end, data.size());
        tensor.bytes = data.subspan(entry.begin, need);
        reached = entry.end;
    }
    if (reached != data.size())
        throw_error<BadFileError>("{}: the tensors end at {} of {} bytes of data; something else follows them", what, reached,
                                  data.size());
}

}  // namespace

std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> file, std::string_view what) {
    ByteReader reader(file, what);
    const auto size = reader.number<std::uint64_t>({"header length"});
    if (size > kSafetensorsHeaderLimit)
        throw_error<BadFileError>("{}: header length: found {}, need at most {}; it is no safetensors file, or damaged", what,
                                  size, kSafetensorsHeaderLimit);
    const auto header = reader.take(size, {"header"});
    auto entries = read_header({reinterpret_cast<const char*>(header.data()), header.size()}, what);
    check_names(entries, what);
    place(entries, file.subspan(reader.offset()), what);
    std::vector<SafetensorsTensor> tensors;
    tensors.reserve(entries.size());
    for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
    return tensors;
}

}  // namespace narae
