// Any bytes as a GGUF file: BadFileError, or metadata and tensors that can be read. The mutator knows where the file's
// numbers and strings are: it sets numbers to borders, changes strings together with their lengths, and repeats or drops
// whole entries together with their counts.
#include "checkpoint/gguf.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/byte_reader.h"
#include "checkpoint/text_files.h"
#include "mutation.h"

#include <vector>

using namespace narae;

namespace {

// What a getter may do: return a value or refuse the kind.
template <class Get>
void get(Get get_value) {
    try {
        get_value();
    } catch (const BadFileError&) {
    }
}

void read_all(const Metadata& metadata) {
    for (const Metadata::Entry& entry : metadata.entries()) {
        fuzz::touch(entry.value.bytes);
        get([&] { metadata.get_int(entry.key); });
        get([&] { metadata.get_double(entry.key); });
        get([&] { metadata.get_bool(entry.key); });
        get([&] { metadata.get_string(entry.key); });
        get([&] {
            const auto strings = metadata.get_strings(entry.key);
            for (const std::string_view text : *strings) fuzz::touch(std::as_bytes(std::span(text.data(), text.size())));
        });
        get([&] { metadata.get_ints(entry.key); });
        get([&] { metadata.get_floats(entry.key); });
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    set_log_level(LogLevel::quiet);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        Checkpoint checkpoint;
        checkpoint.naming = Naming::gguf;
        checkpoint.metadata = parse_gguf_metadata(fuzz::bytes_of(data, size), "model.gguf");
        read_all(checkpoint.metadata);
        get([&] { load_model_text(checkpoint); });
        const GgufFile file = parse_gguf(fuzz::bytes_of(data, size), "model.gguf");
        std::uint64_t bytes = 0;
        for (const GgufTensor& tensor : file.tensors) {
            fuzz::touch(tensor.bytes);
            bytes += tensor.bytes.size();
            if (!tensor.format) continue;
            const std::int64_t in = tensor.shape.rank() > 0 ? tensor.shape[tensor.shape.rank() - 1] : 1;
            const PackedWeight weight{
                tensor.format, tensor.shape.elements() / in, in, {tensor.bytes}, std::string(tensor.name)};
            unpack_all(weight);
        }
        NARAE_CHECK(bytes <= size, "{} bytes of tensors in a file of {}", bytes, size);
    } catch (const BadFileError&) {
    }
    return 0;
}

namespace {

struct Field {
    std::size_t begin = 0, bytes = 0;  // of a number, or of a string without its length, which lies before it
    bool string = false;
};

// Where things are in a file that is right up to some point.
struct Outline {
    std::vector<Field> fields;
    std::vector<Field> entries, tensors;  // whole ones
};

class OutlineReader {
public:
    explicit OutlineReader(std::span<const std::byte> bytes) : reader_(bytes, "") {}

    Outline read() {
        try {
            reader_.take(8, {""});
            const std::uint64_t tensors = number<std::uint64_t>(), entries = number<std::uint64_t>();
            for (std::uint64_t i = 0; i < entries; ++i) part(outline_.entries, [&] { entry(); });
            for (std::uint64_t i = 0; i < tensors; ++i) part(outline_.tensors, [&] { tensor(); });
        } catch (const BadFileError&) {
        }
        return std::move(outline_);
    }

private:
    template <class T>
    T number() {
        const auto value = reader_.number<T>({""});
        outline_.fields.push_back({reader_.offset() - sizeof(T), sizeof(T), false});
        return value;
    }
    void string() {
        const auto length = number<std::uint64_t>();
        reader_.take(length, {""});
        outline_.fields.push_back({reader_.offset() - length, length, true});
    }
    void value(std::uint32_t type) {
        if (type == 8) return string();
        const std::uint64_t bytes = type <= 12 ? metadata_type_bytes(static_cast<Metadata::Type>(type)) : 0;
        reader_.take(bytes, {""});
        outline_.fields.push_back({reader_.offset() - bytes, bytes, false});
    }
    void entry() {
        string();
        const auto type = number<std::uint32_t>();
        if (type != 9) return value(type);
        const auto element = number<std::uint32_t>();
        const auto count = number<std::uint64_t>();
        if (count > reader_.left()) throw BadFileError("");
        for (std::uint64_t i = 0; i < count; ++i) value(element);
    }
    void tensor() {
        string();
        const auto dims = number<std::uint32_t>();
        if (dims > 64) throw BadFileError("");
        for (std::uint32_t i = 0; i < dims; ++i) number<std::uint64_t>();
        number<std::uint32_t>();
        number<std::uint64_t>();
    }
    template <class Read>
    void part(std::vector<Field>& parts, Read read) {
        const std::size_t begin = reader_.offset();
        read();
        parts.push_back({begin, reader_.offset() - begin, false});
    }

    ByteReader reader_;
    Outline outline_;
};

void put_number(std::string& text, std::size_t at, std::size_t bytes, std::uint64_t value) {
    std::memcpy(text.data() + at, &value, bytes < 8 ? bytes : 8);
}

void change_field(std::string& text, const Field& field, std::size_t limit, fuzz::Choice& choice) {
    if (!field.string) return put_number(text, field.begin, field.bytes, choice.border(text.size()));
    const std::string changed = fuzz::mutated(text.substr(field.begin, field.bytes), field.bytes + 16);
    if (text.size() - field.bytes + changed.size() > limit) return;
    text.replace(field.begin, field.bytes, changed);
    put_number(text, field.begin - 8, 8, changed.size());
}

// Repeats or drops one part; its count is the number at `count_at`.
void change_parts(std::string& text, const std::vector<Field>& parts, std::size_t count_at, std::size_t limit,
                  fuzz::Choice& choice) {
    if (parts.empty()) return;
    const Field& part = parts[choice.below(parts.size())];
    std::uint64_t count = 0;
    std::memcpy(&count, text.data() + count_at, 8);
    if (choice.one_in(2)) {
        text.erase(part.begin, part.bytes);
        put_number(text, count_at, 8, count - 1);
    } else if (text.size() + part.bytes <= limit) {
        text.insert(parts[choice.below(parts.size())].begin, text.substr(part.begin, part.bytes));
        put_number(text, count_at, 8, count + 1);
    }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t limit, unsigned seed) {
    fuzz::Choice choice(seed);
    if (size < 24 || choice.one_in(8)) return LLVMFuzzerMutate(data, size, limit);
    std::string text(reinterpret_cast<const char*>(data), size);
    text.replace(0, 4, "GGUF");
    const Outline outline = OutlineReader(fuzz::bytes_of(data, size)).read();
    switch (choice.below(8)) {
        case 0:
            change_parts(text, outline.entries, 16, limit, choice);
            break;
        case 1:
            change_parts(text, outline.tensors, 8, limit, choice);
            break;
        case 2:
            text.resize(choice.below(limit + 1));
            break;
        default:
            if (!outline.fields.empty()) change_field(text, outline.fields[choice.below(outline.fields.size())], limit, choice);
    }
    return fuzz::put(text, data, limit);
}
