// Model files made by hand, right or wrong in one place.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narae::test {

// Little-endian bytes, one after another.
class Bytes {
public:
    template <class T>
    Bytes& number(T value) {
        text.append(reinterpret_cast<const char*>(&value), sizeof value);
        return *this;
    }
    Bytes& string(std::string_view value) {
        number<std::uint64_t>(value.size());
        text.append(value);
        return *this;
    }
    Bytes& raw(std::string_view value) {
        text.append(value);
        return *this;
    }
    Bytes& fill(std::size_t count, char value = '\1') {
        text.append(count, value);
        return *this;
    }

    std::string text;
};

// The parts of a GGUF file; the numbers of types are GGUF's own.
struct GgufFileText {
    enum : std::uint32_t { u8 = 0, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::uint64_t alignment = 32;  // of the data's start; not written by itself
    std::vector<std::string> entries, tensors;
    std::int64_t entry_count = -2, tensor_count = -2;  // -2: as many as there are
    std::size_t data_bytes = 0;

    // A key, its type, and the value's bytes.
    template <class T>
    GgufFileText& entry(std::string_view key, std::uint32_t type, T value) {
        entries.push_back(Bytes().string(key).number(type).number(value).text);
        return *this;
    }
    GgufFileText& text(std::string_view key, std::string_view value) {
        entries.push_back(Bytes().string(key).number<std::uint32_t>(string).string(value).text);
        return *this;
    }
    GgufFileText& strings(std::string_view key, const std::vector<std::string>& values) {
        Bytes bytes;
        bytes.string(key).number<std::uint32_t>(array).number<std::uint32_t>(string).number<std::uint64_t>(values.size());
        for (const std::string& value : values) bytes.string(value);
        entries.push_back(bytes.text);
        return *this;
    }
    template <class T>
    GgufFileText& numbers(std::string_view key, std::uint32_t element, const std::vector<T>& values) {
        Bytes bytes;
        bytes.string(key).number<std::uint32_t>(array).number(element).number<std::uint64_t>(values.size());
        for (const T value : values) bytes.number(value);
        entries.push_back(bytes.text);
        return *this;
    }
    // `dims` in the file's order: the fastest first.
    GgufFileText& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                         std::uint64_t offset) {
        Bytes bytes;
        bytes.string(name).number(static_cast<std::uint32_t>(dims.size()));
        for (const std::uint64_t dim : dims) bytes.number(dim);
        tensors.push_back(bytes.number(type).number(offset).text);
        return *this;
    }
    GgufFileText& data(std::size_t bytes) {
        data_bytes = bytes;
        return *this;
    }

    std::string build() const {
        Bytes bytes;
        bytes.raw(magic).number(version);
        bytes.number(tensor_count == -2 ? static_cast<std::int64_t>(tensors.size()) : tensor_count);
        bytes.number(entry_count == -2 ? static_cast<std::int64_t>(entries.size()) : entry_count);
        for (const std::string& each : entries) bytes.raw(each);
        for (const std::string& each : tensors) bytes.raw(each);
        if (data_bytes > 0) bytes.fill((alignment - bytes.text.size() % alignment) % alignment, '\0');
        return bytes.fill(data_bytes).text;
    }
};

inline std::string safetensors_text(std::string_view header, std::size_t data_bytes) {
    return Bytes().string(header).fill(data_bytes).text;
}

// A small whole model text of each kind, for tests that damage it.
inline std::string good_gguf() {
    return GgufFileText()
        .text("general.architecture", "llama")
        .entry<std::uint32_t>("llama.block_count", GgufFileText::u32, 1)
        .entry<float>("llama.rope.freq_base", GgufFileText::f32, 1e4F)
        .entry<std::uint8_t>("tokenizer.ggml.add_bos_token", GgufFileText::boolean, 1)
        .text("tokenizer.ggml.model", "gpt2")
        .strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<|end|>"})
        .strings("tokenizer.ggml.merges", {"a b"})
        .numbers<std::int32_t>("tokenizer.ggml.token_type", GgufFileText::i32, {1, 1, 1, 3})
        .entry<std::uint32_t>("tokenizer.ggml.eos_token_id", GgufFileText::u32, 3)
        .tensor("token_embd.weight", {32, 4}, 2, 0)           // Q4_0: 4 x 18 bytes
        .tensor("blk.0.attn_norm.weight", {32}, 0, 96)        // F32: 128 bytes
        .tensor("blk.0.ffn_gate.weight", {32, 2, 2}, 1, 224)  // F16: 256 bytes
        .data(480)
        .build();
}

inline std::string good_safetensors() {
    return safetensors_text(R"({"__metadata__":{"format":"pt"},)"
                            R"("a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                            R"("b.weight":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]},)"
                            R"("scalar":{"dtype":"F16","shape":[],"data_offsets":[34,36]},)"
                            R"("ids":{"dtype":"I64","shape":[1],"data_offsets":[36,44]},)"
                            R"("empty":{"dtype":"F32","shape":[0,7],"data_offsets":[44,44]}}  )",
                            44);
}

}  // namespace narae::test
