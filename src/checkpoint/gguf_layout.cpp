// Layout "gguf": one file, or the files NAME-00001-of-0000N.gguf of a split model, opened by the first.
#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/split_name.h"
#include "checkpoint/stored_tensors.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

constexpr std::string_view kSplitIndex = "split.no", kSplitCount = "split.count", kSplitTensors = "split.tensors.count";

void add_tensors(Checkpoint& checkpoint, const GgufFile& parsed, const MappedFile& file) {
    for (const GgufTensor& tensor : parsed.tensors) {
        if (tensor.format)
            add_weight(checkpoint, tensor.name, tensor.shape, *tensor.format, tensor.bytes, &file);
        else
            add_other(checkpoint, tensor.name, tensor.shape, *tensor.dtype, tensor.bytes);
    }
}

void check_split_key(const Metadata& metadata, std::string_view key, std::int64_t need) {
    const std::optional<std::int64_t> found = metadata.get_int(key);
    if (!found) throw_error<BadFileError>("{}: metadata \"{}\" is missing, need {}", metadata.what, key, need);
    if (*found != need) throw_error<BadFileError>("{}: metadata \"{}\": found {}, need {}", metadata.what, key, *found, need);
}

// Opens the other files of a split model whose first file is in `checkpoint`.
void add_other_files(Checkpoint& checkpoint, std::int64_t count) {
    const std::string what = checkpoint.path.string();
    const std::optional<SplitName> name = parse_split_name(checkpoint.path.filename().string());
    if (const std::int64_t index = checkpoint.metadata.get_int(kSplitIndex).value_or(0); index != 0) {
        const std::string hint = name ? fmt::format("; open {}", split_name(name->stem, 1, name->count)) : "";
        throw_error<BadFileError>("{}: is file {} of a model split into {}, need the first{}", what, index + 1, count, hint);
    }
    if (!name || name->index != 1 || name->count != count)
        throw_error<BadFileError>("{}: metadata \"{}\" is {}, so the file needs the name {}", what, kSplitCount, count,
                                  split_name("NAME", 1, count));
    for (std::int64_t i = 2; i <= count; ++i) {
        const Path path = checkpoint.path.parent_path() / split_name(name->stem, i, count);
        const MappedFile& file = map_file(checkpoint, path);
        const GgufFile part = parse_gguf(file.bytes(), path.string());
        check_split_key(part.metadata, kSplitIndex, i - 1);
        check_split_key(part.metadata, kSplitCount, count);
        add_tensors(checkpoint, part, file);
    }
    if (const auto total = checkpoint.metadata.get_int(kSplitTensors)) {
        const auto found = static_cast<std::int64_t>(checkpoint.weights.size() + checkpoint.others.size());
        if (*total != found)
            throw_error<BadFileError>("{}: metadata \"{}\" is {}, the {} files have {} tensors", what, kSplitTensors, *total,
                                      count, found);
    }
}

Checkpoint open_gguf(const Path& path) {
    Checkpoint checkpoint;
    checkpoint.path = path;
    checkpoint.layout = "gguf";
    checkpoint.naming = Naming::gguf;
    const MappedFile& file = map_file(checkpoint, path);
    GgufFile parsed = parse_gguf(file.bytes(), path.string());
    checkpoint.metadata = std::move(parsed.metadata);
    checkpoint.weights.reserve(parsed.tensors.size());
    add_tensors(checkpoint, parsed, file);
    if (const std::int64_t count = checkpoint.metadata.get_int(kSplitCount).value_or(1); count != 1) {
        if (count < 1 || count > kMostSplits)
            throw_error<BadFileError>("{}: metadata \"{}\": found {}, need 1 to {}", path.string(), kSplitCount, count,
                                      kMostSplits);
        add_other_files(checkpoint, count);
    }
    finish_tensors(checkpoint);
    return checkpoint;
}

bool recognises_gguf(const Path& path) {
    if (!file_system().is_file(path)) return false;
    if (path.extension() == ".gguf") return true;
    const auto file = file_system().open(path);
    std::array<std::byte, 4> start{};
    if (file->size() < start.size()) return false;
    file->read_at(0, start);
    return is_gguf(start);
}

const Layout kLayout{.name = "gguf", .recognises = recognises_gguf, .open = open_gguf, .save = save_gguf};
const RegisterLayout kRegister(kLayout);

}  // namespace
}  // namespace narae
