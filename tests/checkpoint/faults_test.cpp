// What goes wrong below and around the readers: damaged bytes, no memory, failing reads, files that change, full disks.
// Replaces operator new of this test program to count and to fail allocations.
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/model_files.h"
#include "checkpoint/safetensors.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>

namespace {

std::atomic<std::int64_t> g_allocations_left{-1};  // -1: no limit; the one that finds 0 fails
std::atomic<std::int64_t> g_live_bytes{0}, g_peak_bytes{0};

void* allocate(std::size_t bytes) {
    if (g_allocations_left >= 0 && g_allocations_left.fetch_sub(1) == 0) {
        g_allocations_left = -1;  // only this one: the way out may need memory
        throw std::bad_alloc();
    }
    void* memory = std::malloc(bytes ? bytes : 1);
    if (!memory) throw std::bad_alloc();
    const std::int64_t live = g_live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
    for (std::int64_t peak = g_peak_bytes; live > peak && !g_peak_bytes.compare_exchange_weak(peak, live);) {
    }
    return memory;
}

void release(void* memory) {
    if (!memory) return;
    g_live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
    std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    try {
        return allocate(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new[](std::size_t bytes, const std::nothrow_t& nothrow) noexcept { return operator new(bytes, nothrow); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }

namespace narae {
namespace {

using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// Every byte that the reader promises is touched, so that the address sanitizer sees a wrong promise.
unsigned touch(std::span<const std::byte> bytes) {
    unsigned sum = 0;
    for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
    return sum;
}

using Reader = void (*)(std::string_view text);

void read_gguf(std::string_view text) {
    const GgufFile file = parse_gguf(bytes_of(text), "model.gguf");
    volatile unsigned sum = 0;
    for (const GgufTensor& tensor : file.tensors) sum = sum + touch(tensor.bytes);
    for (const Metadata::Entry& entry : file.metadata.entries()) {
        if (entry.value.type != Metadata::Type::array) {
            sum = sum + touch(entry.value.bytes);
        } else if (entry.value.element == Metadata::Type::string) {
            const auto strings = file.metadata.get_strings(entry.key);
            for (const std::string_view element : *strings) sum = sum + touch(bytes_of(element));
        } else {
            sum = sum + touch(entry.value.bytes);
        }
    }
}

void read_safetensors(std::string_view text) {
    volatile unsigned sum = 0;
    for (const SafetensorsTensor& tensor : parse_safetensors(bytes_of(text), "model.safetensors"))
        sum = sum + touch(tensor.bytes);
}

// Reads from memory of exactly the text's size. Anything but success and BadFileError fails the test.
void read_damaged(Reader reader, std::string_view text) {
    const std::unique_ptr<char[]> copy(new char[text.size() + 1]);
    std::memcpy(copy.get() + 1, text.data(), text.size());  // unaligned, as sub-files may be
    g_peak_bytes = g_live_bytes.load();
    const std::int64_t before = g_live_bytes;
    try {
        reader({copy.get() + 1, text.size()});
    } catch (const BadFileError&) {
    }
    ASSERT_LT(g_peak_bytes - before, std::int64_t{64} << 20);
}

struct Format2 {
    Reader reader;
    std::string text;
};
std::vector<Format2> both() { return {{read_gguf, test::good_gguf()}, {read_safetensors, test::good_safetensors()}}; }

TEST(DamagedFiles, EachBitFlippedAndEachByteReplaced) {
    for (const auto& [reader, good] : both()) {
        ASSERT_NO_THROW(reader(good));
        for (std::size_t i = 0; i < good.size(); ++i) {
            std::string text = good;
            for (int bit = 0; bit < 8; ++bit) {
                text[i] = static_cast<char>(good[i] ^ (1 << bit));
                read_damaged(reader, text);
            }
            for (const char byte : {'\0', '\xFF', '\x7F', '\x80', '"', '{', '}', '[', '9', '\\'}) {
                text[i] = byte;
                read_damaged(reader, text);
            }
        }
    }
}

TEST(DamagedFiles, CutAtEachLength) {
    for (const auto& [reader, good] : both())
        for (std::size_t size = 0; size < good.size(); ++size) {
            read_damaged(reader, good.substr(0, size));
            EXPECT_THROW(reader(good.substr(0, size)), BadFileError) << size;
        }
}

TEST(DamagedFiles, TwoRandomFlips) {
    std::mt19937 random(20240607);
    for (const auto& [reader, good] : both())
        for (int i = 0; i < 10000; ++i) {
            std::string text = good;
            for (int flip = 0; flip < 2; ++flip) text[random() % text.size()] ^= static_cast<char>(1 + random() % 255);
            read_damaged(reader, text);
        }
}

TEST(DamagedFiles, NumbersOverwrittenWithExtremes) {
    for (const auto& [reader, good] : both())
        for (std::size_t i = 0; i + 8 <= good.size(); ++i)
            for (const std::uint64_t value :
                 {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63, std::uint64_t{1} << 32,
                  (std::uint64_t{1} << 63) - 1, std::uint64_t{good.size()}, std::uint64_t{1} << 26}) {
                std::string text = good;
                std::memcpy(text.data() + i, &value, sizeof value);
                read_damaged(reader, text);
            }
}

// ---- no memory, failing reads -----------------------------------------------------------------------------------------

// The configurations are empty: nlohmann's destructor allocates to free an object with members and cannot report a failure.
struct Models {
    test::ScratchFolder scratch;
    Path gguf = scratch.write("model.gguf", test::good_gguf());
    Path gguf_other_name = scratch.write("model.bin2", test::good_gguf());
    Path folder = make_folder();
    Path sharded = make_sharded();

    std::vector<Path> all() const { return {gguf, gguf_other_name, folder, sharded}; }

private:
    Path make_folder() {
        scratch.write("folder/config.json", "{}");
        scratch.write("folder/generation_config.json", "{}");
        return scratch.write("folder/model.safetensors", test::good_safetensors()).parent_path();
    }
    Path make_sharded() {
        scratch.write("sharded/config.json", "{}");
        scratch.write("sharded/one.safetensors", test::good_safetensors());
        return scratch
            .write("sharded/model.safetensors.index.json",
                   R"({"weight_map":{"a.weight":"one.safetensors","b.weight":"one.safetensors"}})")
            .parent_path();
    }
};

TEST(NoMemory, EachAllocationFailsOnce) {
    const Models models;
    for (const Path& path : models.all()) {
        bool done = false;
        for (std::int64_t k = 0; !done; ++k) {
            ASSERT_LT(k, 100000);
            const std::int64_t live = g_live_bytes;
            try {
                g_allocations_left = k;
                const Checkpoint checkpoint = open_checkpoint(path);
                done = g_allocations_left.exchange(-1) >= 0;
                EXPECT_FALSE(checkpoint.weights.empty());
            } catch (const std::bad_alloc&) {
            } catch (const ResourceError&) {
            }
            g_allocations_left = -1;
            EXPECT_EQ(g_live_bytes, live) << path << " leaks when allocation " << k << " fails";
        }
    }
}

// The real file system, but for the call that finds no calls left.
class FailingFileSystem final : public FileSystem {
public:
    std::int64_t calls_left = -1;

    std::unique_ptr<ReadFile> open(const Path& path) override {
        count("open", path);
        return std::make_unique<File>(*this, path);
    }
    std::unique_ptr<WriteFile> create(const Path& path) override {
        count("create", path);
        return std::make_unique<Output>(*this, path);
    }
    void rename(const Path& from, const Path& to) override {
        count("rename", from);
        real_file_system().rename(from, to);
    }
    void remove(const Path& path) noexcept override { real_file_system().remove(path); }
    void create_directories(const Path& path) override {
        count("create", path);
        real_file_system().create_directories(path);
    }
    void sync(const Path& path) override {
        count("sync", path);
        real_file_system().sync(path);
    }
    bool is_file(const Path& path) override { return real_file_system().is_file(path); }
    bool is_directory(const Path& path) override { return real_file_system().is_directory(path); }
    std::vector<Path> list(const Path& folder) override {
        count("list", folder);
        return real_file_system().list(folder);
    }

private:
    class File final : public ReadFile {
    public:
        File(FailingFileSystem& files, const Path& path) : files_(files), path_(path), real_(real_file_system().open(path)) {}
        std::uint64_t size() const override { return real_->size(); }
        void read_at(std::uint64_t offset, std::span<std::byte> into) const override {
            files_.count("read", path_);
            real_->read_at(offset, into);
        }
        std::span<const std::byte> map() override {
            files_.count("map", path_);
            return real_->map();
        }

    private:
        FailingFileSystem& files_;
        Path path_;
        std::unique_ptr<ReadFile> real_;
    };

    // A disk that fills: a part of the bytes is written before the error.
    class Output final : public WriteFile {
    public:
        Output(FailingFileSystem& files, const Path& path)
            : files_(files), path_(path), real_(real_file_system().create(path)) {}
        void write(std::span<const std::byte> bytes) override {
            if (files_.calls_left == 0) real_->write(bytes.first(bytes.size() / 2));
            files_.count("write", path_);
            real_->write(bytes);
        }
        void sync() override {
            files_.count("sync", path_);
            real_->sync();
        }
        void close() override {
            files_.count("close", path_);
            real_->close();
        }

    private:
        FailingFileSystem& files_;
        Path path_;
        std::unique_ptr<WriteFile> real_;
    };

    void count(std::string_view act, const Path& path) {
        if (calls_left >= 0 && calls_left-- == 0) throw_error<IoError>("{}: cannot {}: injected", path.string(), act);
    }
};

TEST(FailingReads, EachCallFailsOnce) {
    const Models models;
    for (const Path& path : models.all()) {
        FailingFileSystem files;
        const FileSystemScope scope(files);
        bool done = false;
        for (std::int64_t k = 0; !done; ++k) {
            ASSERT_LT(k, 1000);
            files.calls_left = k;
            try {
                const Checkpoint checkpoint = open_checkpoint(path);
                done = files.calls_left >= 0;
                EXPECT_TRUE(done) << path << ": the failure of call " << k << " went unnoticed";
            } catch (const IoError& error) {
                EXPECT_THAT(error.what(), HasSubstr("injected"));
            }
        }
    }
}

CheckpointToSave contents_to_save() {
    CheckpointToSave contents;
    contents.config = {{"model_type", "llama"}};
    contents.generation_config = Json::object();
    contents.text_files = {{"tokenizer.json", "{}"}};
    contents.shard_bytes = 200;
    for (const char* name : {"a", "b", "c"}) {
        WeightToSave weight{name, Shape({4, 8}), find_format("f32"),
                            [](std::span<std::byte> into) { std::ranges::fill(into, std::byte{7}); }};
        contents.weights.push_back(weight);
    }
    return contents;
}

TEST(DiskFull, NothingIsLeft) {
    for (const std::string_view layout : {"gguf", "safetensors"}) {
        const test::ScratchFolder scratch;
        const Path target = scratch.path() / "out";
        FailingFileSystem files;
        const FileSystemScope scope(files);
        bool done = false;
        for (std::int64_t k = 0; !done; ++k) {
            ASSERT_LT(k, 1000);
            files.calls_left = k;
            try {
                find_layout(layout)->save(contents_to_save(), target);
                done = true;
            } catch (const IoError& error) {
                EXPECT_THAT(error.what(), HasSubstr("injected"));
                // The last step, after the rename, makes the name durable: the target may be there, but whole.
                files.calls_left = -1;
                if (std::filesystem::exists(target)) {
                    EXPECT_EQ(open_checkpoint(target).weights.size(), 3U) << layout << " " << k;
                    std::filesystem::remove_all(target);
                }
                EXPECT_TRUE(std::filesystem::is_empty(scratch.path())) << layout << " " << k;
            }
        }
        files.calls_left = -1;
        EXPECT_EQ(open_checkpoint(target).weights.size(), 3U);
    }
}

// ---- files that change ------------------------------------------------------------------------------------------------

void open_cut_and_touch(const Path& path, const Path& file, std::uint64_t size) {
    const Checkpoint checkpoint = open_checkpoint(path);
    std::filesystem::resize_file(file, size);
    unsigned sum = 0;
    for (const StoredWeight& weight : checkpoint.weights) sum += touch(weight.packed.codes());
    _exit(static_cast<int>(sum & 1));
}

TEST(ShrunkFilesDeathTest, TouchingLostPagesEndsWithTheFilesName) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const test::ScratchFolder scratch;
    const std::uint64_t floats = 16384;  // 16 pages
    test::GgufFileText text;
    text.text("general.architecture", "llama").tensor("w", {floats}, 0, 0).data(floats * 4);
    // Two layouts x 50 sizes; above the largest one no whole page would be lost.
    for (std::uint64_t size = 0; size < 50 * 1150; size += 1150) {
        const Path gguf = scratch.write("model.gguf", text.build());
        EXPECT_EXIT(open_cut_and_touch(gguf, gguf, size), testing::ExitedWithCode(74), "model\\.gguf: the file became shorter");

        scratch.write("folder/config.json", "{}");
        const Path file = scratch.write(
            "folder/model.safetensors",
            test::safetensors_text(
                fmt::format(R"({{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}})", floats, floats * 4),
                floats * 4));
        EXPECT_EXIT(open_cut_and_touch(file.parent_path(), file, size), testing::ExitedWithCode(74),
                    "model\\.safetensors: the file became shorter");
    }
}

TEST(TruncatedFiles, AreRefusedAtOpen) {
    const test::ScratchFolder scratch;
    test::GgufFileText text;
    text.text("general.architecture", "llama").tensor("w", {64}, 0, 0).data(255);
    EXPECT_THROW(open_checkpoint(scratch.write("model.gguf", text.build())), BadFileError);
}

}  // namespace
}  // namespace narae
