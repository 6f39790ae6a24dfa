#include "base/file.h"

#include "base/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace narae {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail(const Path& path, std::string_view act, int error) {
    throw_error<IoError>("{}: cannot {}: {}", path.string(), act, reason(error));
}

template <class Call>
auto retry_interrupted(Call call) {
    decltype(call()) result;
    do {
        result = call();
    } while (result < 0 && errno == EINTR);
    return result;
}

class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

private:
    int fd_;
};

class PosixReadFile final : public ReadFile {
public:
    // O_NONBLOCK: opening a pipe that nobody writes to must be an error, not a wait. It changes nothing for files.
    explicit PosixReadFile(const Path& path)
        : path_(path), fd_(retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); })) {
        if (fd_.get() < 0) fail(path, "open the file", errno);
        struct stat status {};
        if (fstat(fd_.get(), &status) != 0) fail(path, "read the file's size", errno);
        if (S_ISDIR(status.st_mode)) fail(path, "open the file", EISDIR);
        if (!S_ISREG(status.st_mode)) throw_error<IoError>("{}: is not a regular file; copy it into one", path.string());
        size_ = static_cast<std::uint64_t>(status.st_size);
    }
    ~PosixReadFile() override {
        if (mapping_) munmap(mapping_, size_);
    }
    PosixReadFile(const PosixReadFile&) = delete;
    PosixReadFile& operator=(const PosixReadFile&) = delete;

    std::uint64_t size() const override { return size_; }

    void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
        if (offset > size_ || into.size() > size_ - offset)
            throw_error<IoError>("{}: cannot read {} bytes at {}: the file has {}", path_.string(), into.size(), offset, size_);
        while (!into.empty()) {
            const ssize_t n =
                retry_interrupted([&] { return pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset)); });
            if (n < 0) fail(path_, "read the file", errno);
            if (n == 0) throw_error<IoError>("{}: the file became shorter while it was in use", path_.string());
            offset += static_cast<std::uint64_t>(n);
            into = into.subspan(static_cast<std::size_t>(n));
        }
    }

    std::span<const std::byte> map() override {
        if (size_ == 0) return {};
        if (!mapping_) {
            void* mapping = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd_.get(), 0);
            if (mapping == MAP_FAILED) fail(path_, "map the file", errno);
            mapping_ = mapping;
        }
        return {static_cast<const std::byte*>(mapping_), size_};
    }

private:
    Path path_;
    Descriptor fd_;
    std::uint64_t size_ = 0;
    void* mapping_ = nullptr;
};

class PosixWriteFile final : public WriteFile {
public:
    explicit PosixWriteFile(const Path& path)
        : path_(path),
          fd_(retry_interrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666); })) {
        if (fd_.get() < 0) fail(path, "create the file", errno);
    }

    void write(std::span<const std::byte> bytes) override {
        while (!bytes.empty()) {
            const ssize_t n = retry_interrupted([&] { return ::write(fd_.get(), bytes.data(), bytes.size()); });
            if (n < 0) fail(path_, "write the file", errno);
            bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
    }
    void sync() override {
        if (retry_interrupted([&] { return fsync(fd_.get()); }) != 0) fail(path_, "write the file to the disk", errno);
    }
    void close() override {
        if (::close(fd_.release()) != 0) fail(path_, "close the file", errno);
    }

private:
    Path path_;
    Descriptor fd_;
};

class PosixFileSystem final : public FileSystem {
public:
    std::unique_ptr<ReadFile> open(const Path& path) override { return std::make_unique<PosixReadFile>(path); }
    std::unique_ptr<WriteFile> create(const Path& path) override { return std::make_unique<PosixWriteFile>(path); }

    void rename(const Path& from, const Path& to) override {
        if (::rename(from.c_str(), to.c_str()) != 0) fail(to, fmt::format("rename {} to it", from.string()), errno);
    }

    void remove(const Path& path) noexcept override {
        try {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        } catch (const std::bad_alloc&) {
        }
    }

    void create_directories(const Path& path) override {
        std::error_code error;
        std::filesystem::create_directories(path, error);
        if (error) fail(path, "create the folder", error.value());
    }

    void sync(const Path& path) override {
        const Descriptor fd(retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
        if (fd.get() < 0) fail(path, "open for writing to the disk", errno);
        // EINVAL: this file system cannot sync folders and keeps no promise about them.
        if (retry_interrupted([&] { return fsync(fd.get()); }) != 0 && errno != EINVAL) fail(path, "write to the disk", errno);
    }

    bool is_file(const Path& path) override {
        std::error_code ignored;
        return std::filesystem::is_regular_file(path, ignored);
    }

    bool is_directory(const Path& path) override {
        std::error_code ignored;
        return std::filesystem::is_directory(path, ignored);
    }

    std::vector<Path> list(const Path& folder) override {
        std::error_code error;
        std::vector<Path> paths;
        std::filesystem::directory_iterator entry(folder, error);
        while (!error && entry != std::filesystem::directory_iterator()) {
            paths.push_back(entry->path());
            entry.increment(error);
        }
        if (error) fail(folder, "list the folder", error.value());
        std::ranges::sort(paths);
        return paths;
    }
};

std::atomic<FileSystem*> g_current{nullptr};

}  // namespace

FileSystem& real_file_system() {
    static PosixFileSystem posix;
    return posix;
}

FileSystem& file_system() {
    FileSystem* current = g_current.load(std::memory_order_acquire);
    return current ? *current : real_file_system();
}

FileSystemScope::FileSystemScope(FileSystem& fs) : before_(g_current.exchange(&fs)) {}
FileSystemScope::~FileSystemScope() { g_current = before_; }

std::string read_text_file(const Path& path, std::uint64_t limit) {
    const std::unique_ptr<ReadFile> file = file_system().open(path);
    if (file->size() > limit)
        throw_error<BadFileError>("{}: has {} bytes, need at most {}", path.string(), file->size(), limit);
    std::string text(file->size(), '\0');
    file->read_at(0, std::as_writable_bytes(std::span(text)));
    return text;
}

Path cache_folder() {
    const auto variable = [](const char* name) -> Path {
        const char* value = std::getenv(name);
        return value ? Path(value) : Path();
    };
    if (Path given = variable("NARAE_CACHE"); !given.empty()) return given;
    if (const Path given = variable("XDG_CACHE_HOME"); !given.empty()) return given / "narae";
    if (const Path home = variable("HOME"); !home.empty()) return home / ".cache" / "narae";
    throw UsageError("no cache folder: none of NARAE_CACHE, XDG_CACHE_HOME and HOME is set; set NARAE_CACHE to a folder");
}

}  // namespace narae
