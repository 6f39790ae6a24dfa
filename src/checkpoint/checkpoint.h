// File layouts: from files to number formats and back. A layout is one file in this folder, registered by a
// RegisterLayout object. Opening maps the files, checks every size once, and allocates nothing that the files do not
// justify; afterwards all views are safe to read. Files are untrusted.
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "formats/format.h"
#include "tensor/tensor.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace narae {

// Whose names and conventions tensors and configuration follow.
enum class Naming : std::uint8_t { hugging_face, gguf };

// ---- GGUF metadata -------------------------------------------------------------------------------------------------
// Typed values; arrays stay views into the file until asked for. Getters never convert between kinds silently:
// integers of any width are accepted where one is asked for if the value fits, nothing else.
class Metadata {
public:
    enum class Type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
    struct Value {
        Type type = Type::u32;
        Type element = Type::u32;          // of an array
        std::uint64_t count = 0;           // elements of an array
        std::span<const std::byte> bytes;  // the value as stored (a string without its length; an array's elements)
    };
    struct Entry {
        std::string_view key;
        Value value;
    };

    std::span<const Entry> entries() const { return entries_; }
    const Value* find(std::string_view key) const;
    std::optional<std::int64_t> get_int(std::string_view key) const;  // BadFileError: another type, out of range
    std::optional<double> get_double(std::string_view key) const;     // integers too
    std::optional<bool> get_bool(std::string_view key) const;
    std::optional<std::string_view> get_string(std::string_view key) const;
    std::optional<std::vector<std::string_view>> get_strings(std::string_view key) const;  // views into the file
    std::optional<std::vector<std::int64_t>> get_ints(std::string_view key) const;
    std::optional<std::vector<float>> get_floats(std::string_view key) const;

    std::string what;                                     // the file, for messages
    void add(Entry entry) { entries_.push_back(entry); }  // for the reader

private:
    std::vector<Entry> entries_;  // few dozen: searched in order
};

// A value to write. Arrays of strings, int32 and float32 are what model files use.
using MetadataValue = std::variant<bool, std::uint32_t, std::int32_t, std::uint64_t, float, std::string,
                                   std::vector<std::string>, std::vector<std::int32_t>, std::vector<float>>;
struct MetadataEntry {
    std::string key;
    MetadataValue value;
};

// ---- what an opened model is ------------------------------------------------------------------------------------------
struct StoredWeight {
    PackedWeight packed;  // [out, in]; a vector is [1, in]; more axes: out = product of all but the last
    Shape shape;          // as Hugging Face writes it (GGUF's order is reversed)
    const std::string& name() const { return packed.name; }
};

// A tensor whose dtype is no number format (integer helpers, masks): listed, never multiplied.
struct OtherTensor {
    std::string name;
    DType dtype = DType::i32;
    Shape shape;
    std::span<const std::byte> bytes;
};

struct Checkpoint {
    Path path;
    std::string layout;  // "safetensors", "gguf"
    Naming naming = Naming::hugging_face;
    Json config;                        // config.json; null for GGUF
    Json generation_config;             // generation_config.json; null when absent
    Metadata metadata;                  // GGUF's; empty otherwise
    std::vector<StoredWeight> weights;  // sorted by name
    std::vector<OtherTensor> others;
    std::vector<std::unique_ptr<MappedFile>> files;
    std::uint64_t file_bytes = 0;  // on disk

    const StoredWeight* find(std::string_view name) const;
};

// What to write: names and configuration already in the target's convention. Weights are produced one at a time, so the
// whole model is never in memory.
struct WeightToSave {
    std::string name;
    Shape shape;                                        // Hugging Face order
    const Format* format = nullptr;                     // dense, or of blocks; nullptr: a tensor of `dtype`
    std::function<void(std::span<std::byte>)> produce;  // fills bytes() bytes
    std::optional<DType> dtype = {};                    // of a tensor that is no weight by itself; for safetensors
    std::uint64_t bytes() const;
};

struct CheckpointToSave {
    Json config, generation_config;       // Hugging Face form
    std::vector<MetadataEntry> metadata;  // GGUF form
    std::vector<WeightToSave> weights;    // in file order
    // Further text files of a Hugging Face folder: name, contents (tokenizer.json, tokenizer_config.json, chat_template.jinja,
    // ...).
    std::vector<std::pair<std::string, std::string>> text_files;
    std::uint64_t shard_bytes = std::uint64_t{5} * 1000 * 1000 * 1000;
};

struct Layout {
    std::string_view name;
    bool (*recognises)(const Path& path) = nullptr;  // cheap; throws nothing but IoError
    Checkpoint (*open)(const Path& path) = nullptr;
    void (*save)(const CheckpointToSave& contents, const Path& target) = nullptr;  // atomic; nullptr: read only
};
std::span<const Layout* const> all_layouts();
const Layout* find_layout(std::string_view name);
struct RegisterLayout {
    explicit RegisterLayout(const Layout& layout);  // `layout` must live as long as the program
};

// ---- opening -----------------------------------------------------------------------------------------------------------
// MODEL of the command line: "default", a folder, a .gguf file, or org/name in the Hugging Face hub cache
// ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub; refs/main, else the newest snapshot). IoError: not found, saying
// where it was looked for and what to try.
Path resolve_model(std::string_view model);

// Every cached or given model that `narae list` shows.
struct CachedModel {
    std::string name;  // "default", org/name
    Path path;
    std::uint64_t bytes = 0;
};
std::vector<CachedModel> cached_models();

// BadFileError: no layout knows it (says what was found there), or it is damaged. A folder that holds no weights (only
// config.json, only tokenizer files) opens with none.
Checkpoint open_checkpoint(const Path& path);

// BadFileError when the checkpoint has no weights, saying what is missing; for those who are about to use them.
void require_weights(const Checkpoint& checkpoint);

}  // namespace narae
