// The small parts of base: checked sizes, errors, callables, clock, log, progress, memory.
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace narae {
namespace {

using ::testing::HasSubstr;

TEST(Checked, RefusesWhatDoesNotFit) {
    EXPECT_EQ(checked_mul<std::uint64_t>(1u << 31, 2, "bytes"), std::uint64_t{1} << 32);
    EXPECT_THROW(checked_mul<std::uint64_t>(std::uint64_t{1} << 63, 2, "bytes"), BadFileError);
    EXPECT_EQ(checked_add<std::uint32_t>(UINT32_MAX - 1, 1, "bytes"), UINT32_MAX);
    EXPECT_THROW(checked_add<std::uint32_t>(UINT32_MAX, 1, "bytes"), BadFileError);
    EXPECT_EQ(checked_cast<std::uint8_t>(255, "byte"), 255);
    EXPECT_THROW(checked_cast<std::uint8_t>(256, "byte"), BadFileError);
    EXPECT_THROW(checked_cast<std::uint64_t>(-1, "count"), BadFileError);
    EXPECT_THROW(checked_cast<std::int64_t>(UINT64_MAX, "count"), BadFileError);
    try {
        checked_mul<std::uint32_t>(1u << 31, 3, "tensor x");
        ADD_FAILURE();
    } catch (const BadFileError& error) {
        EXPECT_STREQ(error.what(), "tensor x: 2147483648 x 3 overflows");
    }
}

TEST(Error, CarriesTheExitCodeOfTheContract) {
    EXPECT_EQ(UsageError("").code(), ExitCode::usage);
    EXPECT_EQ(ResourceError("").code(), ExitCode::resources);
    EXPECT_EQ(BadFileError("").code(), ExitCode::bad_file);
    EXPECT_EQ(InternalError("").code(), ExitCode::internal);
    EXPECT_EQ(IoError("").code(), ExitCode::io);
    try {
        const int a = 1;
        NARAE_CHECK(a == 2, "a {}", a);
        ADD_FAILURE();
    } catch (const InternalError& error) {
        EXPECT_THAT(error.what(), HasSubstr("a == 2 (a 1)"));
    }
}

int twice(FunctionRef<int(int)> function) { return function(function(1)); }
int add_ten(int value) { return value + 10; }

TEST(FunctionRef, CallsWhatItRefersTo) {
    int calls = 0;
    EXPECT_EQ(twice([&](int value) {
                  ++calls;
                  return value * 3;
              }),
              9);
    EXPECT_EQ(calls, 2);
    const auto constant = [](int value) { return value + 1; };
    EXPECT_EQ(twice(constant), 3);
    auto* pointer = &add_ten;
    EXPECT_EQ(twice(pointer), 21);
}

TEST(Clock, CanBeFixedForAScope) {
    const std::time_t before = wall_clock();
    EXPECT_GT(before, 1'600'000'000);
    {
        const FixedWallClock fixed(1'700'000'000);
        EXPECT_EQ(wall_clock(), 1'700'000'000);
    }
    EXPECT_GE(wall_clock(), before);
    const double start = monotonic_seconds();
    EXPECT_GE(monotonic_seconds(), start);
}

class Log : public ::testing::Test {
protected:
    ~Log() override { set_log_level(LogLevel::normal); }
    static std::string output(const auto& action) {
        ::testing::internal::CaptureStderr();
        action();
        return ::testing::internal::GetCapturedStderr();
    }
};

TEST_F(Log, ObeysTheLevel) {
    const auto all = [] {
        log_info("info {}", 1);
        log_debug("debug {}", 2);
        log_warning("warned {}", 3);
    };
    set_log_level(LogLevel::quiet);
    EXPECT_EQ(output(all), "");
    set_log_level(LogLevel::normal);
    EXPECT_EQ(output(all), "info 1\nwarning: warned 3\n");
    set_log_level(LogLevel::verbose);
    EXPECT_EQ(output(all), "info 1\ndebug 2\nwarning: warned 3\n");
}

TEST_F(Log, ShowsControlCharacters) {
    EXPECT_EQ(output([] { log_info("{}", "tensor \x1b[2J\r가\x7f\t."); }), "tensor \\x1b[2J\\x0d가\\x7f\t.\n");
}

TEST_F(Log, LinesOfSeveralThreadsStayWhole) {
    const std::string text = output([] {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([t] {
                for (int i = 0; i < 100; ++i) log_info("{}", std::string(40, static_cast<char>('a' + t)));
            });
        for (std::thread& thread : threads) thread.join();
    });
    ASSERT_EQ(text.size(), 4u * 100 * 41);
    for (std::size_t line = 0; line < text.size(); line += 41)
        EXPECT_EQ(text.substr(line, 41), std::string(40, text[line]) + "\n");
}

TEST_F(Log, KeepsTheStatusLineLast) {
    EXPECT_EQ(output([] {
                  set_status_line("");
                  set_status_line("50 %");
                  log_info("message");
                  set_status_line("");
                  log_info("after");
              }),
              "\r\x1b[K50 %\r\x1b[Kmessage\n50 %\r\x1b[Kafter\n");
}

TEST_F(Log, ProgressDrawsNothingWhereNobodyLooks) {
    EXPECT_EQ(output([] {
                  ProgressBar bar("loading", 100, "B");
                  bar.advance(100);
              }),
              "");
}

TEST(FormatBytes, UsesBinaryUnits) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1.0 KiB");
    EXPECT_EQ(format_bytes(1536), "1.5 KiB");
    EXPECT_EQ(format_bytes((1u << 20) - 1), "1.0 MiB");
    EXPECT_EQ(format_bytes(98'362'432), "93.8 MiB");
    EXPECT_EQ(format_bytes(std::uint64_t{3} << 30), "3.0 GiB");
    EXPECT_EQ(format_bytes(UINT64_MAX), "16384.0 PiB");
}

TEST(Memory, FollowsWhatTheProcessUses) {
    constexpr std::size_t kBytes = std::size_t{64} << 20;
    const std::uint64_t before = resident_bytes();
    EXPECT_GT(before, 0u);
    {
        std::vector<char> block(kBytes, 1);
        EXPECT_GE(resident_bytes(), before + kBytes / 2);
        EXPECT_EQ(block[kBytes / 2], 1);
    }
    EXPECT_GE(peak_resident_bytes(), before + kBytes / 2);
    EXPECT_LT(resident_bytes(), peak_resident_bytes());
    EXPECT_GT(available_bytes(), 0u);
    EXPECT_LT(available_bytes(), std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace narae
