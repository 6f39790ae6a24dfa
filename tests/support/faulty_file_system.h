// A FileSystem over the real one whose k-th call fails, whose disk fills up, or whose power goes off. Calls are counted
// from 1 over all files; remove() cannot fail and is not counted.
//
//   FaultyFileSystem files;
//   files.fail_at(k);              the k-th call throws IoError; a write has then written half, a read has read half
//   files.lose_power_at(k);        from the k-th call on every call throws PowerLoss and nothing reaches the disk
//   files.forget_unsynced(...);    then makes the disk look as it may after the loss
#pragma once

#include "base/error.h"
#include "base/file.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace narae::test {

struct PowerLoss {};

class FaultyFileSystem final : public FileSystem {
public:
    void fail_at(int call) { fail_at_ = call; }
    void lose_power_at(int call) { lose_power_at_ = call; }
    int calls() const { return calls_; }

    // Whether a rename that was not synced has reached the disk is up to the disk; both must be survived.
    enum class UnsyncedRenames { kept, undone };
    void forget_unsynced(UnsyncedRenames renames) {
        for (const auto& [path, synced] : synced_bytes_)
            if (std::filesystem::is_regular_file(path) && std::filesystem::file_size(path) > synced)
                std::filesystem::resize_file(path, synced);
        if (renames == UnsyncedRenames::kept) return;
        for (auto rename = unsynced_renames_.rbegin(); rename != unsynced_renames_.rend(); ++rename) {
            std::filesystem::rename(rename->to, rename->from);
            if (rename->replaced) std::ofstream(rename->to, std::ios::binary) << *rename->replaced;
        }
    }

    std::unique_ptr<ReadFile> open(const Path& path) override {
        count(path);
        return std::make_unique<Reading>(*this, path, real_file_system().open(path));
    }
    std::unique_ptr<WriteFile> create(const Path& path) override {
        count(path);
        auto file = real_file_system().create(path);
        synced_bytes_[path] = 0;
        return std::make_unique<Writing>(*this, path, std::move(file));
    }
    void rename(const Path& from, const Path& to) override {
        count(to);
        std::optional<std::string> replaced;
        if (std::filesystem::is_regular_file(to)) {
            std::stringstream contents;
            contents << std::ifstream(to, std::ios::binary).rdbuf();
            replaced = contents.str();
        }
        real_file_system().rename(from, to);
        unsynced_renames_.push_back({from, to, std::move(replaced)});
        move_synced_bytes(from, to);
    }
    void remove(const Path& path) noexcept override {
        if (!dead_) real_file_system().remove(path);
    }
    void create_directories(const Path& path) override {
        count(path);
        real_file_system().create_directories(path);
    }
    void sync(const Path& path) override {
        count(path);
        real_file_system().sync(path);
        if (std::filesystem::is_regular_file(path)) synced_bytes_[path] = std::filesystem::file_size(path);
        std::erase_if(unsynced_renames_, [&](const Rename& rename) { return rename.to.parent_path() == path; });
    }
    bool is_file(const Path& path) override { return real_file_system().is_file(path); }
    bool is_directory(const Path& path) override { return real_file_system().is_directory(path); }
    std::vector<Path> list(const Path& folder) override {
        count(folder);
        return real_file_system().list(folder);
    }

private:
    struct Rename {
        Path from, to;
        std::optional<std::string> replaced;
    };

    class Reading final : public ReadFile {
    public:
        Reading(FaultyFileSystem& files, Path path, std::unique_ptr<ReadFile> file)
            : files_(files), path_(std::move(path)), file_(std::move(file)) {}
        std::uint64_t size() const override { return file_->size(); }
        void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
            if (files_.is_next_to_fail()) file_->read_at(offset, into.first(into.size() / 2));
            files_.count(path_);
            file_->read_at(offset, into);
        }
        std::span<const std::byte> map() override {
            files_.count(path_);
            return file_->map();
        }

    private:
        FaultyFileSystem& files_;
        Path path_;
        std::unique_ptr<ReadFile> file_;
    };

    class Writing final : public WriteFile {
    public:
        Writing(FaultyFileSystem& files, Path path, std::unique_ptr<WriteFile> file)
            : files_(files), path_(std::move(path)), file_(std::move(file)) {}
        void write(std::span<const std::byte> bytes) override {
            if (files_.is_next_to_fail()) file_->write(bytes.first(bytes.size() / 2));
            files_.count(path_);
            file_->write(bytes);
        }
        void sync() override {
            files_.count(path_);
            file_->sync();
            files_.synced_bytes_[path_] = std::filesystem::file_size(path_);
        }
        void close() override {
            files_.count(path_);
            file_->close();
        }

    private:
        FaultyFileSystem& files_;
        Path path_;
        std::unique_ptr<WriteFile> file_;
    };

    bool is_next_to_fail() const { return calls_ + 1 == fail_at_; }

    void count(const Path& path) {
        ++calls_;
        if (lose_power_at_ > 0 && calls_ >= lose_power_at_) {
            dead_ = true;
            throw PowerLoss();
        }
        if (calls_ == fail_at_) throw_error<IoError>("{}: No space left on device (injected)", path.string());
    }

    void move_synced_bytes(const Path& from, const Path& to) {
        std::map<Path, std::uint64_t> moved;
        for (const auto& [path, bytes] : synced_bytes_) {
            const Path below = path.lexically_relative(from);
            const bool inside = !below.empty() && *below.begin() != "..";
            moved[!inside ? path : below == "." ? to : to / below] = bytes;
        }
        synced_bytes_ = std::move(moved);
    }

    int calls_ = 0, fail_at_ = 0, lose_power_at_ = 0;
    bool dead_ = false;
    std::map<Path, std::uint64_t> synced_bytes_;
    std::vector<Rename> unsynced_renames_;
};

}  // namespace narae::test
