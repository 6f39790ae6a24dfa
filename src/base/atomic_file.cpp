#include "base/error.h"
#include "base/file.h"

#include <unistd.h>

#include <utility>

namespace narae {
namespace {

Path partial_name(const Path& target) {
    Path partial = target;
    partial += fmt::format(".partial-{}", getpid());
    return partial;
}

Path folder_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

Path without_trailing_slash(Path path) { return path.has_filename() ? std::move(path) : path.parent_path(); }

// Where the bytes go: through symbolic links, so that a link (such as /dev/stdout) is not replaced by a file.
Path resolved(const Path& target) {
    std::error_code error;
    if (!std::filesystem::is_symlink(target, error)) return target;
    const Path through = std::filesystem::canonical(target, error);
    return error ? target : through;
}

// Devices and pipes are written in place: renaming over them would replace them.
bool is_stream(const Path& target) {
    std::error_code ignored;
    return std::filesystem::is_other(std::filesystem::status(target, ignored));
}

void sync_tree(FileSystem& files, const Path& folder) {
    for (const Path& path : files.list(folder)) {
        if (files.is_directory(path))
            sync_tree(files, path);
        else
            files.sync(path);
    }
    files.sync(folder);
}

}  // namespace

AtomicFile::AtomicFile(Path target) {
    const bool stream = is_stream(target);
    target_ = stream ? std::move(target) : resolved(target);
    if (file_system().is_directory(target_))
        throw_error<UsageError>("{}: is a folder; give the name of a file", target_.string());
    if (!target_.has_filename()) throw_error<UsageError>("\"{}\": is not the name of a file", target_.string());
    partial_ = stream ? target_ : partial_name(target_);
    file_ = file_system().create(partial_);
}

AtomicFile::~AtomicFile() {
    if (!file_) return;
    file_.reset();
    if (partial_ != target_) file_system().remove(partial_);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
    NARAE_CHECK(file_, "write to {} after commit", target_.string());
    file_->write(bytes);
    written_ += bytes.size();
}

void AtomicFile::commit() {
    NARAE_CHECK(file_, "second commit of {}", target_.string());
    const bool stream = partial_ == target_;
    if (!stream) file_->sync();
    file_->close();
    if (!stream) file_system().rename(partial_, target_);
    file_.reset();
    if (!stream) file_system().sync(folder_of(target_));
}

AtomicFolder::AtomicFolder(Path target) : target_(without_trailing_slash(std::move(target))), partial_(partial_name(target_)) {
    std::error_code ignored;
    if (std::filesystem::exists(std::filesystem::symlink_status(target_, ignored)))
        throw_error<UsageError>("{}: exists already; give a new name or remove it first", target_.string());
    // In a container process numbers repeat: what a killed process left is not ours to keep.
    file_system().remove(partial_);
    try {
        file_system().create_directories(partial_);
    } catch (...) {
        file_system().remove(partial_);
        throw;
    }
}

AtomicFolder::~AtomicFolder() {
    if (!committed_) file_system().remove(partial_);
}

void AtomicFolder::commit() {
    NARAE_CHECK(!committed_, "second commit of {}", target_.string());
    sync_tree(file_system(), partial_);
    file_system().rename(partial_, target_);
    committed_ = true;
    file_system().sync(folder_of(target_));
}

}  // namespace narae
