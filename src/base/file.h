// Files: reading (mapped or by copy), and writing that never leaves a half-written file.
// FileSystem is the seam that fault tests swap; everything in narae reads and writes through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

using Path = std::filesystem::path;

// An open file to read. Calls may run concurrently.
class ReadFile {
public:
    virtual ~ReadFile() = default;
    virtual std::uint64_t size() const = 0;
    // Fills `into` from `offset`; IoError when the file ends before or a read fails.
    virtual void read_at(std::uint64_t offset, std::span<std::byte> into) const = 0;
    // Maps the whole file read-only; an empty span for an empty file. Unmapped with the ReadFile.
    virtual std::span<const std::byte> map() = 0;
};

// An open file to write, from its start. Errors are IoError. Destroying without close() keeps no promise.
class WriteFile {
public:
    virtual ~WriteFile() = default;
    virtual void write(std::span<const std::byte> bytes) = 0;
    virtual void sync() = 0;
    virtual void close() = 0;
};

class FileSystem {
public:
    virtual ~FileSystem() = default;
    virtual std::unique_ptr<ReadFile> open(const Path& path) = 0;     // IoError: not found, unreadable, a folder
    virtual std::unique_ptr<WriteFile> create(const Path& path) = 0;  // truncates what is there
    virtual void rename(const Path& from, const Path& to) = 0;
    virtual void remove(const Path& path) noexcept = 0;  // a file, or a folder with all in it; links are not followed
    virtual void create_directories(const Path& path) = 0;
    virtual void sync(const Path& path) = 0;  // a file's bytes, or a folder's entries, to the disk
    virtual bool is_file(const Path& path) = 0;
    virtual bool is_directory(const Path& path) = 0;
    virtual std::vector<Path> list(const Path& folder) = 0;  // full paths, sorted
};

FileSystem& file_system();       // the current one
FileSystem& real_file_system();  // the operating system's

// Makes `fs` current for a scope (fault tests).
class FileSystemScope {
public:
    explicit FileSystemScope(FileSystem& fs);
    ~FileSystemScope();
    FileSystemScope(const FileSystemScope&) = delete;
    FileSystemScope& operator=(const FileSystemScope&) = delete;

private:
    FileSystem* before_;
};

// A file mapped read-only for the object's life. When the file shrinks afterwards, touching the lost pages ends
// the process with exit code 74 and the file's name (a SIGBUS handler that the first MappedFile installs).
class MappedFile {
public:
    explicit MappedFile(const Path& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const Path& path() const { return path_; }
    std::span<const std::byte> bytes() const { return bytes_; }
    std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
    // Tells the kernel that these bytes (a part of bytes()) are not needed for now; resident memory falls. They may
    // be read again later (from the page cache).
    void release_pages(std::span<const std::byte> part) const noexcept;
    // Asks for read-ahead of the part.
    void prefetch(std::span<const std::byte> part) const noexcept;

private:
    Path path_;
    std::unique_ptr<ReadFile> file_;
    std::span<const std::byte> bytes_;
    int bus_slot_ = -1;
};

// A whole small file as a string; refuses one larger than `limit` (BadFileError).
std::string read_text_file(const Path& path, std::uint64_t limit = std::uint64_t{64} << 20);

// Writes beside the target (`NAME.partial-PID`), syncs, renames on commit(). Without commit() nothing is left.
// A target that is a device or a pipe is written in place. UsageError when it is a folder.
class AtomicFile {
public:
    explicit AtomicFile(Path target);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(std::span<const std::byte> bytes);
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
    std::uint64_t written() const { return written_; }
    void commit();

private:
    Path target_, partial_;
    std::unique_ptr<WriteFile> file_;
    std::uint64_t written_ = 0;
};

// A folder that appears whole or not at all: fill path() (`NAME.partial-PID`), then commit() syncs and renames it.
// UsageError when the target exists.
class AtomicFolder {
public:
    explicit AtomicFolder(Path target);
    ~AtomicFolder();
    AtomicFolder(const AtomicFolder&) = delete;
    AtomicFolder& operator=(const AtomicFolder&) = delete;

    const Path& path() const { return partial_; }
    void commit();

private:
    Path target_, partial_;
    bool committed_ = false;
};

// ${NARAE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/narae}
Path cache_folder();

}  // namespace narae
