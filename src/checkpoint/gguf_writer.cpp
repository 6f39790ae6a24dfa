#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/saving.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

using Type = Metadata::Type;

constexpr std::uint32_t kVersion = 3;

// Collects the file's start, which is small, before anything is written.
class Header {
public:
    template <class T>
    void number(T value) {
        const auto bytes = std::as_bytes(std::span(&value, 1));
        bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    void string(std::string_view text) {
        number<std::uint64_t>(text.size());
        bytes_.append(text);
    }
    void type(Type type) { number(static_cast<std::uint32_t>(type)); }
    void pad(std::uint64_t alignment) { bytes_.append((alignment - bytes_.size() % alignment) % alignment, '\0'); }
    const std::string& bytes() const { return bytes_; }

    void value(bool flag) {
        type(Type::boolean);
        number<std::uint8_t>(flag);
    }
    void value(std::uint32_t n) { type(Type::u32), number(n); }
    void value(std::int32_t n) { type(Type::i32), number(n); }
    void value(std::uint64_t n) { type(Type::u64), number(n); }
    void value(float n) { type(Type::f32), number(n); }
    void value(const std::string& text) { type(Type::string), string(text); }
    void value(const std::vector<std::string>& texts) {
        array(Type::string, texts.size());
        for (const std::string& text : texts) string(text);
    }
    void value(const std::vector<std::int32_t>& numbers) {
        array(Type::i32, numbers.size());
        for (const std::int32_t n : numbers) number(n);
    }
    void value(const std::vector<float>& numbers) {
        array(Type::f32, numbers.size());
        for (const float n : numbers) number(n);
    }

private:
    void array(Type element, std::uint64_t count) {
        type(Type::array);
        type(element);
        number(count);
    }

    std::string bytes_;
};

std::uint64_t padded(std::uint64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

void check_for_gguf(const CheckpointToSave& contents) {
    check_weights_to_save(contents);
    for (const WeightToSave& weight : contents.weights) {
        NARAE_CHECK(weight.format, "tensor {} without a format in a GGUF file", weight.name);
        if (!weight.format->gguf_type)
            throw_error<UsageError>("tensor {}: GGUF cannot hold the format {}; choose another --dtype", weight.name,
                                    weight.format->name);
        if (weight.name.size() > kGgufNameLimit)
            throw_error<UsageError>("tensor {}: a name of {} bytes, GGUF allows {}", weight.name, weight.name.size(),
                                    kGgufNameLimit);
        if (weight.shape.rank() > 4)
            throw_error<UsageError>("tensor {}: {} dimensions, GGUF allows 4", weight.name, weight.shape.rank());
        if (weight.shape.elements() == 0)
            throw_error<UsageError>("tensor {}: shape {}: GGUF cannot hold an empty tensor", weight.name,
                                    weight.shape.to_string());
    }
    std::vector<std::string_view> keys;
    for (const MetadataEntry& entry : contents.metadata) {
        NARAE_CHECK(entry.key != "general.alignment", "the writer chooses {}", entry.key);
        keys.push_back(entry.key);
    }
    std::ranges::sort(keys);
    const auto twice = std::ranges::adjacent_find(keys);
    NARAE_CHECK(twice == keys.end(), "metadata {} is to be saved twice", *twice);
}

std::string header_of(const CheckpointToSave& contents) {
    Header header;
    for (const char c : std::string_view("GGUF")) header.number(c);
    header.number(kVersion);
    header.number<std::uint64_t>(contents.weights.size());
    header.number<std::uint64_t>(contents.metadata.size());
    for (const MetadataEntry& entry : contents.metadata) {
        header.string(entry.key);
        std::visit([&](const auto& value) { header.value(value); }, entry.value);
    }
    std::uint64_t offset = 0;
    for (const WeightToSave& weight : contents.weights) {
        header.string(weight.name);
        header.number(static_cast<std::uint32_t>(weight.shape.rank()));
        for (int axis = weight.shape.rank() - 1; axis >= 0; --axis)
            header.number(static_cast<std::uint64_t>(weight.shape[axis]));
        header.number(*weight.format->gguf_type);
        header.number(offset);
        offset += padded(weight.bytes());
    }
    header.pad(kGgufAlignment);
    return header.bytes();
}

}  // namespace

void save_gguf(const CheckpointToSave& contents, const Path& target) {
    check_for_gguf(contents);
    AtomicFile file(target);
    file.write(header_of(contents));
    WeightProducer producer;
    constexpr std::array<std::byte, kGgufAlignment> kZeros{};
    for (const WeightToSave& weight : contents.weights) {
        const auto bytes = producer.produce(weight);
        file.write(bytes);
        file.write(std::span(kZeros).first(padded(bytes.size()) - bytes.size()));
    }
    file.commit();
}

}  // namespace narae
