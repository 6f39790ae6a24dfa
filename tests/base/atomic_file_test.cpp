#include "base/error.h"
#include "base/file.h"
#include "support/faulty_file_system.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace narae {
namespace {

using test::FaultyFileSystem;
using test::PowerLoss;
using test::ScratchFolder;
using Renames = FaultyFileSystem::UnsyncedRenames;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kOld = "the old contents", kNew = "the new contents, which are longer";

void write_in_parts(const Path& target) {
    AtomicFile file(target);
    file.write(std::string_view(kNew).substr(0, 10));
    file.write(std::string_view(kNew).substr(10));
    file.commit();
}

void write_folder(const Path& target) {
    AtomicFolder folder(target);
    file_system().create_directories(folder.path() / "sub");
    for (const char* name : {"one", "sub/two"}) {
        const auto file = file_system().create(folder.path() / name);
        file->write(std::as_bytes(std::span(kNew)));
        file->close();
    }
    folder.commit();
}

void expect_whole_folder(const Path& target) {
    EXPECT_EQ(read_text_file(target / "one"), kNew);
    EXPECT_EQ(read_text_file(target / "sub" / "two"), kNew);
}

TEST(AtomicFile, AppearsOnCommit) {
    const ScratchFolder folder;
    const Path target = folder.path() / "target";
    AtomicFile file(target);
    file.write(kNew);
    EXPECT_EQ(file.written(), kNew.size());
    EXPECT_FALSE(std::filesystem::exists(target));
    file.commit();
    EXPECT_EQ(read_text_file(target), kNew);
    EXPECT_THAT(file_system().list(folder.path()), ElementsAre(target));
    EXPECT_THROW(file.commit(), InternalError);
    EXPECT_THROW(file.write(kNew), InternalError);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
    const ScratchFolder folder;
    const Path target = folder.write("target", kOld);
    { AtomicFile(target).write(kNew); }
    EXPECT_EQ(read_text_file(target), kOld);
    EXPECT_THAT(file_system().list(folder.path()), ElementsAre(target));
}

TEST(AtomicFile, RefusesAFolderAndAnEmptyName) {
    const ScratchFolder folder;
    EXPECT_THROW(AtomicFile{folder.path()}, UsageError);
    EXPECT_THROW(AtomicFile{Path()}, UsageError);
    EXPECT_THROW(AtomicFile{folder.path() / "missing" / "x"}, IoError);
    EXPECT_THAT(file_system().list(folder.path()), IsEmpty());
}

TEST(AtomicFile, WritesThroughALinkInsteadOfReplacingIt) {
    const ScratchFolder folder;
    const Path target = folder.write("target", kOld), link = folder.path() / "link";
    std::filesystem::create_symlink(target, link);
    write_in_parts(link);
    EXPECT_TRUE(std::filesystem::is_symlink(link));
    EXPECT_EQ(read_text_file(target), kNew);
}

TEST(AtomicFile, WritesADeviceInPlace) {
    write_in_parts("/dev/null");
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
    EXPECT_THROW(write_in_parts("/dev/full"), IoError);
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

// Every call fails once: the target is the old one or the new one, and no other file stays.
TEST(AtomicFile, EveryFailingCallLeavesOldOrNew) {
    for (const bool exists : {false, true}) {
        for (int k = 1;; ++k) {
            const ScratchFolder folder;
            const Path target = folder.path() / "target";
            if (exists) folder.write("target", kOld);
            FaultyFileSystem files;
            files.fail_at(k);
            bool failed = false;
            {
                const FileSystemScope scope(files);
                try {
                    write_in_parts(target);
                } catch (const IoError&) {
                    failed = true;
                }
            }
            SCOPED_TRACE(k);
            if (std::filesystem::exists(target)) {
                const std::string contents = read_text_file(target);
                EXPECT_TRUE(contents == kNew || (exists && failed && contents == kOld)) << contents;
                EXPECT_THAT(file_system().list(folder.path()), ElementsAre(target));
            } else {
                EXPECT_TRUE(failed && !exists);
                EXPECT_THAT(file_system().list(folder.path()), IsEmpty());
            }
            if (!failed) {
                EXPECT_EQ(files.calls(), 7) << "create, write, write, sync, close, rename, sync";
                break;
            }
        }
    }
}

// The power goes off before every call: the target is the old one or the new one, never a part of it.
TEST(AtomicFile, EveryPowerLossLeavesOldOrNew) {
    for (const Renames renames : {Renames::kept, Renames::undone}) {
        for (int k = 1;; ++k) {
            const ScratchFolder folder;
            const Path target = folder.write("target", kOld);
            FaultyFileSystem files;
            files.lose_power_at(k);
            bool lost = false;
            {
                const FileSystemScope scope(files);
                try {
                    write_in_parts(target);
                } catch (const PowerLoss&) {
                    lost = true;
                }
            }
            files.forget_unsynced(renames);
            const std::string contents = read_text_file(target);
            EXPECT_TRUE(contents == kNew || (lost && contents == kOld)) << "call " << k << ": " << contents;
            if (!lost) break;
        }
    }
}

TEST(AtomicFolder, AppearsOnCommit) {
    const ScratchFolder folder;
    const Path target = folder.path() / "model";
    write_folder(target);
    expect_whole_folder(target);
    EXPECT_THAT(file_system().list(folder.path()), ElementsAre(target));
}

TEST(AtomicFolder, TakesATrailingSlash) {
    const ScratchFolder folder;
    write_folder(folder.path() / "model/");
    expect_whole_folder(folder.path() / "model");
}

TEST(AtomicFolder, RefusesATargetThatExists) {
    const ScratchFolder folder;
    const Path file = folder.write("file", kOld);
    EXPECT_THROW(write_folder(file), UsageError);
    EXPECT_THROW(write_folder(folder.path()), UsageError);
    const Path dangling = folder.path() / "dangling";
    std::filesystem::create_symlink(folder.path() / "nothing", dangling);
    EXPECT_THROW(write_folder(dangling), UsageError);
    EXPECT_THAT(file_system().list(folder.path()), ElementsAre(dangling, file));
}

TEST(AtomicFolder, WithoutCommitNothingStays) {
    const ScratchFolder folder;
    {
        const AtomicFolder model(folder.path() / "model");
        file_system().create(model.path() / "half")->close();
    }
    EXPECT_THAT(file_system().list(folder.path()), IsEmpty());
}

TEST(AtomicFolder, StartsEmptyAfterAKilledProcessOfTheSameNumber) {
    const ScratchFolder folder;
    const Path target = folder.path() / "model";
    folder.write(fmt::format("model.partial-{}/left", getpid()), "left by a killed process");
    write_folder(target);
    EXPECT_FALSE(std::filesystem::exists(target / "left"));
    expect_whole_folder(target);
}

TEST(AtomicFolder, EveryFailingCallLeavesAllOrNothing) {
    for (int k = 1;; ++k) {
        const ScratchFolder folder;
        const Path target = folder.path() / "model";
        FaultyFileSystem files;
        files.fail_at(k);
        bool failed = false;
        {
            const FileSystemScope scope(files);
            try {
                write_folder(target);
            } catch (const IoError&) {
                failed = true;
            }
        }
        SCOPED_TRACE(k);
        if (std::filesystem::exists(target)) {
            expect_whole_folder(target);
            EXPECT_THAT(file_system().list(folder.path()), ElementsAre(target));
        } else {
            EXPECT_TRUE(failed);
            EXPECT_THAT(file_system().list(folder.path()), IsEmpty());
        }
        if (!failed) break;
    }
}

TEST(AtomicFolder, EveryPowerLossLeavesAllOrNothing) {
    for (const Renames renames : {Renames::kept, Renames::undone}) {
        for (int k = 1;; ++k) {
            const ScratchFolder folder;
            const Path target = folder.path() / "model";
            FaultyFileSystem files;
            files.lose_power_at(k);
            bool lost = false;
            {
                const FileSystemScope scope(files);
                try {
                    write_folder(target);
                } catch (const PowerLoss&) {
                    lost = true;
                }
            }
            files.forget_unsynced(renames);
            SCOPED_TRACE(k);
            if (std::filesystem::exists(target)) expect_whole_folder(target);
            if (!lost) {
                EXPECT_TRUE(std::filesystem::exists(target));
                break;
            }
        }
    }
}

}  // namespace
}  // namespace narae
