// The file of base logits: there and back, and damaged in every way that its sizes allow.
#include "eval/logits_file.h"

#include "base/error.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace narae::eval {
namespace {

struct Sample {
    int window = 6, vocab = 5, windows = 2;
    std::vector<std::int32_t> ids = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1};
    std::vector<std::vector<float>> rows;

    explicit Sample(int words = 5) : vocab(words) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal(0.0f, 8.0f);
        for (int i = 0; i < windows * (window - 1 - window / 2); ++i) {
            rows.emplace_back(static_cast<std::size_t>(vocab));
            for (float& x : rows.back()) x = normal(random);
        }
    }
    void write(const Path& path) const {
        LogitsFileWriter writer(path, window, vocab, ids);
        for (const auto& row : rows) writer.append(row, sum_row(row));
        writer.commit();
    }
};

std::string bytes_of(const Sample& sample) {
    const test::ScratchFolder scratch;
    sample.write(scratch.path() / "base");
    return read_text_file(scratch.path() / "base");
}

LogitsFile parse(std::string_view bytes) {
    return LogitsFile::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "base");
}

template <class T>
std::string with(std::string bytes, std::size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return bytes;
}

TEST(LogitsFile, ThereAndBack) {
    for (const int vocab : {1, 5, 6, 300}) {
        Sample sample(vocab);
        if (vocab == 1) std::ranges::fill(sample.ids, 0);
        const std::string bytes = bytes_of(sample);
        EXPECT_EQ(bytes.size(), 20u + 12 * 4 + 4 * static_cast<std::size_t>(vocab + vocab % 2 + 4) * 2);
        const LogitsFile file = parse(bytes);
        EXPECT_EQ(file.window(), 6);
        EXPECT_EQ(file.vocab(), vocab);
        EXPECT_EQ(file.windows(), 2);
        EXPECT_EQ(file.rows_per_window(), 2);
        EXPECT_EQ(file.ids(), sample.ids);
        for (int w = 0; w < 2; ++w) {
            for (int r = 0; r < 2; ++r) {
                const std::vector<float>& logits = sample.rows[static_cast<std::size_t>(2 * w + r)];
                const RowSums sums = sum_row(logits);
                BaseRow row;
                file.read_row(w, r, row);
                EXPECT_EQ(row.most_likely(), sums.most_likely);
                for (std::int32_t id = 0; id < vocab; ++id) {
                    const double exact = static_cast<double>(logits[static_cast<std::size_t>(id)]) - sums.log_sum_exp();
                    const double floor = static_cast<double>(sums.max) - 16.0 - sums.log_sum_exp();
                    EXPECT_NEAR(row.log_probability(id), std::max(exact, floor), 0.51 * 16.0 / 65535.0);
                }
            }
        }
    }
}

// The layout, byte for byte, of a row whose numbers are exact.
TEST(LogitsFile, IsWhatLlamaCppWrites) {
    const std::vector<float> logits = {1.0f, 1.0f, -30.0f};
    std::vector<std::uint16_t> row;
    encode_row(logits, sum_row(logits), row);
    ASSERT_EQ(row.size(), 8u);
    float scale = 0.0f, least = 0.0f;
    std::memcpy(&scale, row.data(), 4);
    std::memcpy(&least, row.data() + 2, 4);
    EXPECT_EQ(scale, 16.0f / 65535.0f);
    EXPECT_FLOAT_EQ(least, -16.0f - std::log(2.0f));
    EXPECT_EQ((std::vector<std::uint16_t>(row.begin() + 4, row.end())), (std::vector<std::uint16_t>{65535, 65535, 0, 0}));
    // Equal logits have no scale.
    encode_row(std::vector<float>(4, 2.5f), sum_row(std::vector<float>(4, 2.5f)), row);
    std::memcpy(&scale, row.data(), 4);
    EXPECT_EQ(scale, 0.0f);
    EXPECT_EQ((std::vector<std::uint16_t>(row.begin() + 4, row.end())), std::vector<std::uint16_t>(4, 0));
}

TEST(LogitsFile, EveryTruncationIsRefused) {
    const std::string bytes = bytes_of(Sample());
    for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_THROW(parse(bytes.substr(0, size)), BadFileError) << size;
    EXPECT_NO_THROW(parse(bytes));
    EXPECT_THROW(parse(bytes + '\0'), BadFileError);
}

TEST(LogitsFile, DamagedNumbersAreRefused) {
    const std::string bytes = bytes_of(Sample());
    EXPECT_THROW(parse(with(bytes, 0, 'x')), BadFileError);
    for (const std::size_t field : {8u, 12u, 16u})
        for (const std::int32_t value : {-1, 0, 1, 3, 7, 1 << 24, (1 << 24) + 1, 0x7fffffff, -0x7fffffff - 1})
            EXPECT_THROW(parse(with(bytes, field, value)), BadFileError) << field << " " << value;
    EXPECT_THROW(parse(with(bytes, 20, std::int32_t{5})), BadFileError);
    EXPECT_THROW(parse(with(bytes, 20, std::int32_t{-1})), BadFileError);
    BaseRow row;
    for (const float scale : {-1.0f, 1.5f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
        const std::string damaged = with(bytes, 20 + 48, scale);
        EXPECT_THROW(parse(damaged).read_row(0, 0, row), BadFileError) << scale;
    }
    const std::string damaged = with(bytes, 20 + 48 + 4, std::nanf(""));
    EXPECT_THROW(parse(damaged).read_row(0, 0, row), BadFileError);
}

TEST(LogitsFile, AnUnfinishedFileIsNotLeftBehind) {
    const test::ScratchFolder scratch;
    const Sample sample;
    {
        LogitsFileWriter writer(scratch.path() / "base", sample.window, sample.vocab, sample.ids);
        writer.append(sample.rows[0], sum_row(sample.rows[0]));
    }
    EXPECT_TRUE(file_system().list(scratch.path()).empty());
}

}  // namespace
}  // namespace narae::eval
