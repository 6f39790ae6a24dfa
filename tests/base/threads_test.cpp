#include "base/threads.h"

#include "base/clock.h"
#include "base/error.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace narae {
namespace {

using namespace std::chrono_literals;

TEST(ThreadPool, RunsEveryIndexOnItsOwnThread) {
    for (const int count : {1, 2, 3, 8}) {
        ThreadPool pool(count);
        EXPECT_EQ(pool.threads(), count);
        std::vector<std::thread::id> ids(static_cast<std::size_t>(count));
        pool.run([&](int t) { ids[static_cast<std::size_t>(t)] = std::this_thread::get_id(); });
        EXPECT_EQ(ids[0], std::this_thread::get_id()) << "the caller is thread 0";
        EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), ids.size());
    }
}

TEST(ThreadPool, RefusesLessThanOneThread) {
    EXPECT_THROW(ThreadPool(0), UsageError);
    EXPECT_THROW(ThreadPool(-3), UsageError);
}

// Plain variables, so that a missing ordering between runs is a data race that TSan reports.
TEST(ThreadPool, ARunSeesWhatTheRunBeforeWrote) {
    ThreadPool pool(3);
    std::vector<int> mine(3, 0);
    int total = 0;
    for (int i = 0; i < 2000; ++i) {
        pool.run([&](int t) {
            const auto next = static_cast<std::size_t>(t + 1) % 3;
            if (i % 2)
                ++mine[static_cast<std::size_t>(t)];
            else
                ++mine[next];
        });
        total += 3;
        if (i % 500 == 0) std::this_thread::sleep_for(2ms);  // the workers fall asleep and must be woken
    }
    EXPECT_EQ(std::accumulate(mine.begin(), mine.end(), 0), total);
}

TEST(ThreadPool, WakesWorkersThatSleepAndACallerThatSleeps) {
    ThreadPool pool(2);
    for (int i = 0; i < 50; ++i) {
        std::atomic<int> calls{0};
        if (i % 2) std::this_thread::sleep_for(1ms);
        pool.run([&](int t) {
            if (t == 1) std::this_thread::sleep_for(1ms);
            ++calls;
        });
        EXPECT_EQ(calls, 2);
    }
}

TEST(ThreadPool, RethrowsTheErrorOfAnyThreadAndWorksAgain) {
    ThreadPool pool(3);
    for (int thrower = 0; thrower < 3; ++thrower) {
        std::atomic<int> others{0};
        EXPECT_THROW(pool.run([&](int t) {
            if (t == thrower) throw IoError("from a thread");
            ++others;
        }),
                     IoError);
        EXPECT_EQ(others, 2) << "the others finish first";
    }
    EXPECT_THROW(pool.run([](int) { throw std::runtime_error("all"); }), std::runtime_error);
    std::atomic<int> calls{0};
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, 3);
}

// Sums plain variables that the next call reads: TSan reports a missing ordering, a lost or doubled piece is a wrong sum.
TEST(ThreadPool, SharesPiecesAmongThoseWhoCome) {
    ThreadPool pool(3);
    constexpr int kPieces = 40;
    std::vector<int> values(kPieces, 0);
    for (int i = 1; i <= 3000; ++i) {
        std::atomic<int> next{0};
        pool.share([&](int) {
            for (int piece = 0; (piece = next.fetch_add(1)) < kPieces;) ++values[static_cast<std::size_t>(piece)];
        });
        if (i % 3 == 0) pool.run([&](int t) { values[static_cast<std::size_t>(t)] += 0; });
        if (i % 500 == 0) std::this_thread::sleep_for(1ms);
        ASSERT_EQ(std::accumulate(values.begin(), values.end(), 0), i * kPieces);
    }
}

TEST(ThreadPool, SharingDoesNotWaitForAThreadThatHasNotCome) {
    ThreadPool pool(2);
    std::atomic<bool> inside{false}, leave{false};
    // The worker is still busy with the first call's piece when the caller is through with its own: that is waited for.
    std::thread releaser([&] {
        while (!inside) std::this_thread::yield();
        std::this_thread::sleep_for(5ms);
        leave = true;
    });
    while (!inside) {
        pool.share([&](int t) {
            if (t != 1) return;
            inside = true;
            while (!leave) std::this_thread::yield();
        });
    }
    EXPECT_TRUE(leave);
    releaser.join();
    std::atomic<int> others{0};
    pool.run([&](int t) { others += t; });
    EXPECT_EQ(others, 1);
}

TEST(ThreadPool, SharingRethrowsErrors) {
    ThreadPool pool(2);
    EXPECT_THROW(pool.share([](int t) {
        if (t == 0) throw IoError("from the caller");
    }),
                 IoError);
    std::atomic<int> calls{0};
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, 2);
}

TEST(ThreadPool, ARunInsideARunIsACheck) {
    ThreadPool pool(2);
    EXPECT_THROW(pool.run([&](int t) {
        if (t == 0) pool.run([](int) {});
    }),
                 InternalError);
}

TEST(ThreadPool, IdleThreadsUseNoProcessorTime) {
    ThreadPool pool(4);
    pool.run([](int) {});
    const auto processor_seconds = [] {
        timespec time{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    };
    std::this_thread::sleep_for(10ms);
    const double before = processor_seconds();
    std::this_thread::sleep_for(300ms);
    // One spinning thread would have used 0.3 s.
    EXPECT_LT(processor_seconds() - before, 0.03);
}

TEST(ParallelFor, CoversEveryIndexOnceInPiecesOfTheGrain) {
    for (const int threads : {1, 2, 3, 5}) {
        ThreadPool pool(threads);
        for (const std::int64_t count : {0, 1, 2, 7, 64, 100, 1000, 4099}) {
            for (const std::int64_t grain : {1, 3, 16, 64, 5000}) {
                std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
                std::atomic<bool> bad_cut{false};
                pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
                    if (begin % grain != 0 || (end % grain != 0 && end != count) || begin >= end) bad_cut = true;
                    for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
                });
                EXPECT_FALSE(bad_cut) << count << " by " << grain;
                for (const auto& times : seen) ASSERT_EQ(times, 1) << count << " by " << grain;
            }
        }
    }
}

TEST(ParallelFor, AcceptsCountsNearTheEndOfTheRange) {
    ThreadPool pool(2);
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(INT64_MAX / 4, INT64_MAX / 8, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
    EXPECT_EQ(sum, INT64_MAX / 4);
}

TEST(UsableProcessors, IsAtLeastOneAndFollowsTheAffinity) {
    const int all = usable_processors();
    EXPECT_GE(all, 1);
    cpu_set_t before, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &before)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_processors(), 1);
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
    EXPECT_EQ(usable_processors(), all);
}

}  // namespace
}  // namespace narae
