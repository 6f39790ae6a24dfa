#include "eval/progress_state.h"

#include "base/error.h"
#include "base/sha256.h"

#include <cstring>

namespace narae::eval {
namespace {

constexpr std::string_view kFirstLine = "narae evaluation 1\n";
constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 30;

// Takes the text up to and with the next line end.
std::string_view take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end == std::string_view::npos ? text.size() : end + 1);
    text.remove_prefix(line.size());
    return line;
}

}  // namespace

void save_progress(const Path& path, const ProgressState& state) {
    const auto bytes = std::as_bytes(std::span(state.values));
    AtomicFile file(path);
    file.write(kFirstLine);
    file.write(dump_json({{"identity", state.identity},
                          {"windows", state.windows},
                          {"values", state.values.size()},
                          {"sha256", sha256_hex(bytes)}}) +
               "\n");
    file.write(bytes);
    file.commit();
}

std::optional<ProgressState> load_progress(const Path& path) {
    if (!file_system().is_file(path)) return std::nullopt;
    return parse_progress(read_text_file(path, kMostBytes), path.string());
}

ProgressState parse_progress(std::string_view bytes, std::string_view what) {
    const std::string name(what);
    if (take_line(bytes) != kFirstLine)
        throw_error<BadFileError>(
            "{}: does not begin with \"narae evaluation 1\"; give a file that --resume wrote, or a new name", name);
    const Json header = parse_json(take_line(bytes), name);
    const auto windows = get_int(header, "windows", name), count = get_int(header, "values", name);
    const auto sha256 = get_string(header, "sha256", name);
    const Json* const identity = get_object(header, "identity", name);
    if (!windows || !count || !sha256 || !identity)
        throw_error<BadFileError>("{}: need identity, windows, values and sha256; delete the file to begin again", name);
    ProgressState state;
    if (*windows < 0 || *count < 0 || static_cast<std::uint64_t>(*count) != bytes.size() / sizeof(double) ||
        bytes.size() % sizeof(double) != 0)
        throw_error<BadFileError>("{}: {} bytes of values, need {} values of 8; delete the file to begin again", name,
                                  bytes.size(), *count);
    if (sha256_hex(bytes) != *sha256)
        throw_error<BadFileError>("{}: the values are damaged (their hash differs); delete the file to begin again", name);
    state.identity = *identity;
    state.windows = *windows;
    state.values.resize(static_cast<std::size_t>(*count));
    if (!bytes.empty()) std::memcpy(state.values.data(), bytes.data(), bytes.size());
    return state;
}

void require_same_run(const Json& found, const Json& wanted, std::string_view what) {
    if (found == wanted) return;
    const Json before = found.flatten(), now = wanted.flatten();
    std::string differences;
    const auto add = [&](const std::string& key, const Json& old_value, const Json& new_value) {
        if (!differences.empty()) differences += "; ";
        differences += fmt::format("{} was {}, now {}", key.substr(1), dump_json(old_value), dump_json(new_value));
    };
    for (const auto& [key, value] : before.items())
        if (!now.contains(key) || now[key] != value) add(key, value, now.contains(key) ? now[key] : Json());
    for (const auto& [key, value] : now.items())
        if (!before.contains(key)) add(key, Json(), value);
    throw_error<UsageError>("{}: holds another evaluation: {}; repeat that command, or give another file", what, differences);
}

std::string model_sha256(const Checkpoint& checkpoint, ThreadPool& threads) {
    std::vector<std::string> hashes(checkpoint.weights.size());
    threads.parallel_for(static_cast<std::int64_t>(hashes.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
            const StoredWeight& weight = checkpoint.weights[i];
            Sha256 sha;
            sha.update(fmt::format("{} {}", weight.name(), weight.packed.format->name));
            for (const std::int64_t extent : weight.shape.dims()) sha.update(fmt::format(" {}", extent));
            for (const PackedBuffer& buffer : weight.packed.buffers) {
                sha.update(fmt::format(" {}", role_name(buffer.role)));
                sha.update(buffer.bytes);
                if (weight.packed.file) weight.packed.file->release_pages(buffer.bytes);
            }
            hashes[i] = sha.finish();
        }
    });
    Sha256 sha;
    sha.update(dump_json(checkpoint.config));
    for (const Metadata::Entry& entry : checkpoint.metadata.entries()) {
        sha.update(entry.key);
        sha.update(entry.value.bytes);
    }
    for (const std::string& hash : hashes) sha.update(hash);
    return sha.finish();
}

}  // namespace narae::eval
