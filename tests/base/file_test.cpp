#include "base/file.h"

#include "base/error.h"
#include "base/memory.h"
#include "support/faulty_file_system.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace narae {
namespace {

using test::FaultyFileSystem;
using test::ScratchFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class E>
std::string message_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const E& error) {
        return error.what();
    }
    return "(no such error)";
}

TEST(FileSystem, AnErrorNamesTheFileAndTheReason) {
    const ScratchFolder folder;
    const Path missing = folder.path() / "missing.gguf";
    EXPECT_THAT(message_of<IoError>([&] { file_system().open(missing); }),
                AllOf(HasSubstr(missing.string()), HasSubstr("No such file or directory")));
    EXPECT_THAT(message_of<IoError>([&] { file_system().open(folder.path()); }), HasSubstr("Is a directory"));
    EXPECT_THAT(message_of<IoError>([&] { file_system().create(folder.path() / "no" / "x"); }), HasSubstr("No such file"));
    EXPECT_THAT(message_of<IoError>([&] { file_system().rename(missing, folder.path() / "y"); }), HasSubstr("missing.gguf"));
    EXPECT_THAT(message_of<IoError>([&] { file_system().list(missing); }), HasSubstr("missing.gguf"));
    EXPECT_THAT(message_of<IoError>([&] { file_system().sync(missing); }), HasSubstr("missing.gguf"));
    const Path file = folder.write("file", "x");
    EXPECT_THAT(message_of<IoError>([&] { file_system().create_directories(file / "below"); }), HasSubstr("below"));
}

TEST(FileSystem, APipeIsRefusedWithoutWaitingForAWriter) {
    const ScratchFolder folder;
    const Path pipe = folder.path() / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_THAT(message_of<IoError>([&] { file_system().open(pipe); }), HasSubstr("not a regular file"));
}

TEST(FileSystem, ListIsSortedAndFull) {
    const ScratchFolder folder;
    folder.write("b", "");
    folder.write("a", "");
    folder.write("c/d", "");
    EXPECT_THAT(file_system().list(folder.path()), ElementsAre(folder.path() / "a", folder.path() / "b", folder.path() / "c"));
    EXPECT_TRUE(file_system().is_file(folder.path() / "a"));
    EXPECT_TRUE(file_system().is_directory(folder.path() / "c"));
    EXPECT_FALSE(file_system().is_file(folder.path() / "c"));
    EXPECT_FALSE(file_system().is_directory(folder.path() / "nothing"));
}

TEST(FileSystem, RemoveTakesAFolderButNotWhatALinkPointsTo) {
    const ScratchFolder folder;
    const Path kept = folder.write("kept/file", "x");
    folder.write("gone/file", "x");
    std::filesystem::create_directory_symlink(folder.path() / "kept", folder.path() / "gone" / "link");
    file_system().remove(folder.path() / "gone");
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "gone"));
    EXPECT_TRUE(std::filesystem::exists(kept));
    file_system().remove(folder.path() / "nothing");
}

TEST(ReadFile, ReadsPartsAndRefusesWhatIsNotThere) {
    const ScratchFolder folder;
    const Path path = folder.write("f", "0123456789");
    const auto file = file_system().open(path);
    EXPECT_EQ(file->size(), 10u);
    std::string part(4, '\0');
    file->read_at(6, std::as_writable_bytes(std::span(part)));
    EXPECT_EQ(part, "6789");
    EXPECT_THROW(file->read_at(7, std::as_writable_bytes(std::span(part))), IoError);
    EXPECT_THROW(file->read_at(UINT64_MAX, std::as_writable_bytes(std::span(part))), IoError);
    std::filesystem::resize_file(path, 5);
    EXPECT_THAT(message_of<IoError>([&] { file->read_at(4, std::as_writable_bytes(std::span(part))); }),
                HasSubstr("became shorter"));
}

TEST(WriteFile, AFullDiskIsAnError) {
    const auto file = file_system().create("/dev/full");
    const std::string text = "text";
    EXPECT_THAT(message_of<IoError>([&] { file->write(std::as_bytes(std::span(text))); }),
                AllOf(HasSubstr("/dev/full"), HasSubstr("No space left")));
}

TEST(MappedFile, ShowsTheBytes) {
    const ScratchFolder folder;
    const MappedFile file(folder.write("f", "some text"));
    EXPECT_EQ(file.text(), "some text");
    EXPECT_EQ(file.path(), folder.path() / "f");
    EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
    EXPECT_THROW(MappedFile(folder.path()), IoError);
}

TEST(MappedFile, ReleasedPagesLeaveMemoryAndCanBeReadAgain) {
    const ScratchFolder folder;
    constexpr std::size_t kBytes = std::size_t{64} << 20;
    const MappedFile file(folder.write("f", std::string(kBytes, 'x')));
    file.prefetch(file.bytes());
    const auto touch = [&] { return std::ranges::count(file.text(), 'x'); };
    EXPECT_EQ(touch(), static_cast<std::ptrdiff_t>(kBytes));
    const std::uint64_t before = resident_bytes();
    file.release_pages(file.bytes().subspan(1, kBytes - 2));  // unaligned: only whole pages go
    EXPECT_LT(resident_bytes(), before - kBytes / 2);
    EXPECT_EQ(touch(), static_cast<std::ptrdiff_t>(kBytes));
    file.release_pages(file.bytes().first(1));
    file.release_pages({});
    file.prefetch({});
}

void read_after_shrinking() {
    const ScratchFolder folder;
    const Path path = folder.write("model.gguf", std::string(1 << 20, 'x'));
    const MappedFile other(folder.write("other", "still whole"));
    const MappedFile file(path);
    std::filesystem::resize_file(path, 100);
    volatile char last = file.text().back();
    static_cast<void>(last);
}

TEST(MappedFileDeathTest, AFileThatShrinksEndsTheProgramWithItsName) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(read_after_shrinking(), ::testing::ExitedWithCode(74),
                "narae: .*model.gguf: the file became shorter while it was in use");
}

TEST(MappedFileDeathTest, OtherBusErrorsStayBusErrors) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto raise_bus_error = [] {
        std::signal(SIGBUS, SIG_DFL);
        const ScratchFolder folder;
        const MappedFile file(folder.write("f", "x"));
        // As a kernel fault outside of every mapped file: the handler returns and the instruction runs again.
        std::raise(SIGBUS);
        std::raise(SIGBUS);
    };
    EXPECT_EXIT(raise_bus_error(), ::testing::KilledBySignal(SIGBUS), "");
}

TEST(ReadTextFile, ReadsUpToALimit) {
    const ScratchFolder folder;
    const Path path = folder.write("f", "0123456789");
    EXPECT_EQ(read_text_file(path), "0123456789");
    EXPECT_EQ(read_text_file(path, 10), "0123456789");
    EXPECT_THAT(message_of<BadFileError>([&] { read_text_file(path, 9); }), HasSubstr("has 10 bytes, need at most 9"));
    EXPECT_EQ(read_text_file(folder.write("empty", "")), "");
}

TEST(ReadTextFile, EveryFailingCallIsAnIoErrorAndNothingElse) {
    const ScratchFolder folder;
    const Path path = folder.write("f", "0123456789");
    for (int k = 1;; ++k) {
        FaultyFileSystem files;
        files.fail_at(k);
        const FileSystemScope scope(files);
        try {
            EXPECT_EQ(read_text_file(path), "0123456789");
            EXPECT_EQ(files.calls(), k - 1);
            EXPECT_GT(k, 2);
            break;
        } catch (const IoError&) {
        }
    }
}

class Environment {
public:
    Environment(const char* name, const char* value) : name_(name) {
        if (const char* before = std::getenv(name)) before_ = before;
        set(value);
    }
    ~Environment() { set(before_ ? before_->c_str() : nullptr); }

private:
    void set(const char* value) { value ? setenv(name_, value, 1) : unsetenv(name_); }
    const char* name_;
    std::optional<std::string> before_;
};

TEST(CacheFolder, FollowsTheEnvironment) {
    const Environment home("HOME", "/home/somebody");
    const Environment xdg("XDG_CACHE_HOME", nullptr);
    const Environment own("NARAE_CACHE", nullptr);
    EXPECT_EQ(cache_folder(), "/home/somebody/.cache/narae");
    const Environment xdg_set("XDG_CACHE_HOME", "/caches");
    EXPECT_EQ(cache_folder(), "/caches/narae");
    const Environment own_set("NARAE_CACHE", "/mine");
    EXPECT_EQ(cache_folder(), "/mine");
    const Environment own_empty("NARAE_CACHE", "");
    const Environment xdg_empty("XDG_CACHE_HOME", "");
    const Environment no_home("HOME", nullptr);
    EXPECT_THAT(message_of<UsageError>([] { cache_folder(); }), HasSubstr("set NARAE_CACHE"));
}

}  // namespace
}  // namespace narae
