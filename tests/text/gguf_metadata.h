// The tokenizer keys of a GGUF file, read just well enough for files that are known to be good: the tests of this room
// cannot use the checkpoint room below it.
#pragma once

#include "text/tokenizer.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace narae::test {

class GgufMetadata {
public:
    // `bytes` must outlive the vocabulary.
    explicit GgufMetadata(std::string_view bytes) : rest_(bytes) {
        if (!rest_.starts_with("GGUF")) throw std::runtime_error("not a GGUF file");
        rest_.remove_prefix(4);
        read<std::uint32_t>();  // version
        read<std::uint64_t>();  // tensors
        for (auto keys = read<std::uint64_t>(); keys > 0; --keys) {
            const std::string_view key = read_string();
            read_value(key, read<std::uint32_t>());
        }
    }

    const GgufVocabulary& vocabulary() const { return vocabulary_; }

private:
    enum Type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

    template <class T>
    T read() {
        T value;
        if (rest_.size() < sizeof value) throw std::runtime_error("GGUF file ends early");
        std::memcpy(&value, rest_.data(), sizeof value);
        rest_.remove_prefix(sizeof value);
        return value;
    }
    std::string_view read_string() {
        const auto length = read<std::uint64_t>();
        const std::string_view text = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return text;
    }
    static std::size_t size_of(std::uint32_t type) {
        constexpr std::size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        return kSizes[type];
    }

    void read_value(std::string_view key, std::uint32_t type) {
        constexpr std::string_view kPrefix = "tokenizer.ggml.";
        if (key.starts_with(kPrefix)) key.remove_prefix(kPrefix.size());
        if (type == array) {
            const auto of = read<std::uint32_t>();
            for (auto count = read<std::uint64_t>(); count > 0; --count) read_item(key, of);
        } else if (type == string) {
            const std::string_view text = read_string();
            if (key == "model") vocabulary_.model = text;
            if (key == "pre") vocabulary_.pre = text;
        } else {
            read_scalar(key, type);
        }
    }
    void read_item(std::string_view key, std::uint32_t type) {
        if (type == string) {
            const std::string_view text = read_string();
            if (key == "tokens") vocabulary_.tokens.push_back(text);
            if (key == "merges") vocabulary_.merges.push_back(text);
        } else if (key == "scores") {
            vocabulary_.scores.push_back(read<float>());
        } else if (key == "token_type") {
            vocabulary_.token_types.push_back(read<std::int32_t>());
        } else {
            rest_.remove_prefix(size_of(type));
        }
    }
    void read_scalar(std::string_view key, std::uint32_t type) {
        const std::map<std::string_view, std::optional<std::int32_t>*> ids = {
            {"bos_token_id", &vocabulary_.bos},         {"eos_token_id", &vocabulary_.eos},
            {"unknown_token_id", &vocabulary_.unknown}, {"padding_token_id", &vocabulary_.padding},
            {"eot_token_id", &vocabulary_.eot},         {"eom_token_id", &vocabulary_.eom}};
        const std::map<std::string_view, std::optional<bool>*> flags = {{"add_bos_token", &vocabulary_.add_bos},
                                                                        {"add_eos_token", &vocabulary_.add_eos},
                                                                        {"add_space_prefix", &vocabulary_.add_space_prefix}};
        if (const auto id = ids.find(key); id != ids.end()) {
            *id->second = read<std::int32_t>();
        } else if (const auto flag = flags.find(key); flag != flags.end()) {
            *flag->second = read<std::uint8_t>() != 0;
        } else {
            rest_.remove_prefix(size_of(type));
        }
    }

    std::string_view rest_;
    GgufVocabulary vocabulary_;
};

}  // namespace narae::test
