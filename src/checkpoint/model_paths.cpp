// Where models are: the default model, folders and files as given, the Hugging Face hub's cache.
// Source: huggingface.co/docs/hub/local-cache (models--ORG--NAME/{blobs,refs,snapshots}).
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/split_name.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>

namespace narae {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefaultModel = "SmolLM2-135M-Instruct.Q4_1.gguf";
constexpr std::string_view kRepositoryPrefix = "models--";

Path default_model_path() { return cache_folder() / kDefaultModel; }

Path hub_folder() {
    const auto variable = [](const char* name) -> Path {
        const char* value = std::getenv(name);
        return value ? Path(value) : Path();
    };
    if (const Path given = variable("HF_HUB_CACHE"); !given.empty()) return given;
    if (const Path given = variable("HF_HOME"); !given.empty()) return given / "hub";
    if (const Path given = variable("XDG_CACHE_HOME"); !given.empty()) return given / "huggingface" / "hub";
    if (const Path home = variable("HOME"); !home.empty()) return home / ".cache" / "huggingface" / "hub";
    return {};
}

// A part of org/name as the hub allows it: letters, digits and . _ -, no "--" or "..", no dot or dash at an end. Such a part
// cannot lead out of a folder.
bool is_hub_word(std::string_view word) {
    constexpr std::size_t kLongest = 96;
    const auto allowed = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-'; };
    const auto at_end = [](char c) { return c == '.' || c == '-'; };
    return !word.empty() && word.size() <= kLongest && std::ranges::all_of(word, allowed) && !at_end(word.front()) &&
           !at_end(word.back()) && word.find("--") == std::string_view::npos && word.find("..") == std::string_view::npos;
}

struct HubName {
    std::string organization, name, quantization;  // the last may be empty

    std::string repository() const { return organization + "/" + name; }
    std::string folder() const { return fmt::format("{}{}--{}", kRepositoryPrefix, organization, name); }
};

std::optional<HubName> parse_hub_name(std::string_view model) {
    if (model.starts_with("hf://")) model.remove_prefix(5);
    HubName result;
    if (const std::size_t colon = model.find(':'); colon != std::string_view::npos) {
        result.quantization = model.substr(colon + 1);
        if (!is_hub_word(result.quantization)) return std::nullopt;
        model = model.substr(0, colon);
    }
    const std::size_t slash = model.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    result.organization = model.substr(0, slash);
    result.name = model.substr(slash + 1);
    if (!is_hub_word(result.organization) || !is_hub_word(result.name)) return std::nullopt;
    return result;
}

// The snapshot that refs/main names, else the newest; empty when there is none.
Path find_snapshot(const Path& repository) {
    const Path snapshots = repository / "snapshots";
    if (!file_system().is_directory(snapshots)) return {};
    const Path reference = repository / "refs" / "main";
    if (file_system().is_file(reference)) {
        std::string commit = read_text_file(reference, 256);
        while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
        const bool plain = !commit.empty() && std::ranges::all_of(commit, [](unsigned char c) { return std::isalnum(c); });
        if (plain && file_system().is_directory(snapshots / commit)) return snapshots / commit;
    }
    Path newest;
    fs::file_time_type newest_time;
    for (const Path& snapshot : file_system().list(snapshots)) {
        std::error_code error;
        const fs::file_time_type time = fs::last_write_time(snapshot, error);
        if (error || !file_system().is_directory(snapshot) || (!newest.empty() && time <= newest_time)) continue;
        newest = snapshot;
        newest_time = time;
    }
    return newest;
}

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

// The .gguf files of a folder that can be opened: of a split model only the first.
std::vector<Path> gguf_files(const Path& folder) {
    std::vector<Path> files;
    for (const Path& path : file_system().list(folder)) {
        if (path.extension() != ".gguf" || !file_system().is_file(path)) continue;
        const auto split = parse_split_name(path.filename().string());
        if (!split || split->index == 1) files.push_back(path);
    }
    return files;
}

std::string names_of(const std::vector<Path>& paths) {
    std::string names;
    for (const Path& path : paths) names += fmt::format("{}{}", names.empty() ? "" : ", ", path.filename().string());
    return names;
}

// What to open in a folder: itself, or its .gguf file. `quantization` chooses among several.
Path choose_in_folder(const Path& folder, const std::string& quantization, std::string_view model) {
    if (quantization.empty() && is_model_folder(folder)) return folder;
    std::vector<Path> files = gguf_files(folder);
    if (files.empty() && quantization.empty()) return folder;  // opening it says what is missing
    if (!quantization.empty()) {
        const std::vector<Path> all = files;
        std::erase_if(files, [&](const Path& path) {
            return lower(path.stem().string()).find(lower(quantization)) == std::string::npos;
        });
        // "Q4_K" also occurs in "Q4_K_M": a name that ends so is meant.
        std::vector<Path> exact = files;
        std::erase_if(exact, [&](const Path& path) {
            const auto split = parse_split_name(path.filename().string());
            return !lower(split ? split->stem : path.stem().string()).ends_with(lower(quantization));
        });
        if (exact.size() == 1) return exact[0];
        if (files.empty())
            throw_error<IoError>("{}: no .gguf file of quantization {} in {}, found {}", model, quantization, folder.string(),
                                 all.empty() ? "none" : names_of(all));
    }
    if (files.size() > 1)
        throw_error<UsageError>("{}: several .gguf files ({}); give the path of one{}", model, names_of(files),
                                parse_hub_name(model) ? ", or ORG/NAME:QUANTIZATION" : "");
    return files[0];
}

std::uint64_t folder_bytes(const Path& folder) {
    std::uint64_t sum = 0;
    std::error_code error;
    for (auto entry = fs::recursive_directory_iterator(folder, error); !error && entry != fs::recursive_directory_iterator();
         entry.increment(error)) {
        std::error_code unreadable;
        const auto size = entry->is_regular_file(unreadable) ? entry->file_size(unreadable) : 0;
        if (!unreadable) sum += size;
    }
    return sum;
}

}  // namespace

Path resolve_model(std::string_view model) {
    if (model == "default") {
        const Path path = default_model_path();
        if (!file_system().is_file(path))
            throw_error<IoError>("default: {} is missing; fetch it with tools/fetch_default_model or make demo", path.string());
        return path;
    }
    if (model.empty() || model.find('\0') != std::string_view::npos)
        throw_error<UsageError>("MODEL is \"{}\", need default, a folder, a .gguf file or ORG/NAME",
                                model.substr(0, model.find('\0')));
    const Path path(model);
    if (file_system().is_directory(path)) return choose_in_folder(path, "", model);
    if (file_system().is_file(path)) return path;

    const std::optional<HubName> hub = parse_hub_name(model);
    if (!hub)
        throw_error<IoError>(
            "{}: no such file or folder; MODEL is default, a folder, a .gguf file or ORG/NAME of the Hugging Face cache",
            model);
    const Path repository = hub_folder() / hub->folder();
    const Path snapshot = find_snapshot(repository);
    if (snapshot.empty())
        throw_error<IoError>("{}: neither a path nor in the Hugging Face cache (looked for {}); fetch it with hf download {}",
                             model, repository.string(), hub->repository());
    return choose_in_folder(snapshot, hub->quantization, model);
}

std::vector<CachedModel> cached_models() {
    std::vector<CachedModel> models;
    if (const Path path = default_model_path(); file_system().is_file(path)) {
        std::error_code error;
        const auto bytes = fs::file_size(path, error);
        models.push_back({"default", path, error ? 0 : bytes});
    }
    const Path hub = hub_folder();
    if (!file_system().is_directory(hub)) return models;
    for (const Path& repository : file_system().list(hub)) {
        std::string name = repository.filename().string();
        if (!name.starts_with(kRepositoryPrefix)) continue;
        name.erase(0, kRepositoryPrefix.size());
        if (const std::size_t at = name.find("--"); at != std::string::npos) name.replace(at, 2, "/");
        if (!parse_hub_name(name)) continue;
        const Path snapshot = find_snapshot(repository);
        if (snapshot.empty()) continue;
        const std::uint64_t bytes = folder_bytes(snapshot);
        const std::vector<Path> files = gguf_files(snapshot);
        if (is_model_folder(snapshot) || files.size() == 1) {
            models.push_back({name, is_model_folder(snapshot) ? snapshot : files[0], bytes});
        } else {
            for (const Path& file : files) models.push_back({name, file, fs::file_size(file)});
        }
    }
    return models;
}

}  // namespace narae
