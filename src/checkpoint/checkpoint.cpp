#include "checkpoint/checkpoint.h"

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/hugging_face.h"

#include <algorithm>

namespace narae {
namespace {

// Sorted by name. A function-local static: the objects that register themselves are built before main, in any order.
std::vector<const Layout*>& layouts() {
    static std::vector<const Layout*> list;
    return list;
}

std::string layout_names() {
    std::string names;
    for (const Layout* layout : layouts()) names += fmt::format("{}{}", names.empty() ? "" : ", ", layout->name);
    return names;
}

// Why no layout knows the path, and what to try.
[[noreturn]] void refuse(const Path& path) {
    const std::string what = path.string();
    if (file_system().is_directory(path)) refuse_folder(path);
    const std::string ending = path.extension().string();
    if (ending == ".safetensors")
        throw_error<BadFileError>("{}: is one file of a model, need the folder that holds it and config.json", what);
    if (is_pickle_name(path.filename().string()))
        throw_error<BadFileError>("{}: is a PyTorch pickle, which can run code when it is read; need .safetensors or .gguf",
                                  what);
    if (!file_system().is_file(path)) throw_error<IoError>("{}: no such file or folder", what);
    throw_error<BadFileError>(
        "{}: is no model file that narae knows (layouts: {}); need a .gguf file or a folder with config.json", what,
        layout_names());
}

}  // namespace

RegisterLayout::RegisterLayout(const Layout& layout) {
    auto& list = layouts();
    const auto place = std::ranges::lower_bound(list, layout.name, {}, &Layout::name);
    NARAE_CHECK(place == list.end() || (*place)->name != layout.name, "layout {} is registered twice", layout.name);
    list.insert(place, &layout);
}

std::span<const Layout* const> all_layouts() { return layouts(); }

const Layout* find_layout(std::string_view name) {
    const auto layout = std::ranges::find(layouts(), name, &Layout::name);
    return layout == layouts().end() ? nullptr : *layout;
}

std::uint64_t WeightToSave::bytes() const {
    const auto elements = static_cast<std::uint64_t>(shape.elements());
    if (!format) return checked_mul(elements, static_cast<std::uint64_t>(dtype_bits(dtype.value())), name) / 8;
    return checked_mul(elements / static_cast<std::uint64_t>(format->block), static_cast<std::uint64_t>(format->block_bytes),
                       name);
}

Checkpoint open_checkpoint(const Path& path) {
    for (const Layout* layout : layouts())
        if (layout->recognises(path)) return layout->open(path);
    refuse(path);
}

void require_weights(const Checkpoint& checkpoint) {
    if (!checkpoint.weights.empty()) return;
    throw_error<BadFileError>("{}: holds no weights; {}", checkpoint.path.string(),
                              checkpoint.naming == Naming::gguf
                                  ? "it has metadata only"
                                  : "need model.safetensors, or model.safetensors.index.json and its files");
}

}  // namespace narae
