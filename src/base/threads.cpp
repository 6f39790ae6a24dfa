#include "base/threads.h"

#include "base/cgroup.h"
#include "base/error.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace narae {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kSpinTime{50};
constexpr std::size_t kCacheLine = 64;

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

// Spins until done() or the spin time is over; true when done.
template <class Done>
bool spin_until(Done done) {
    constexpr int kPausesPerClockRead = 32;
    const Clock::time_point end = Clock::now() + kSpinTime;
    do {
        for (int i = 0; i < kPausesPerClockRead; ++i) {
            if (done()) return true;
            __builtin_ia32_pause();
        }
    } while (Clock::now() < end);
    return done();
}

}  // namespace

// One run: the caller writes `work`, adds the workers to `pending`, then raises `generation`; each worker that sees the new
// generation works and lowers `pending`. Who is about to sleep says so first (`sleepers`, `caller_sleeps`) and then looks
// again; who changes the word looks at that afterwards. Both sides are sequentially consistent, so no wake-up is lost.
//
// A shared run (an odd generation) waits only for workers that came: one adds itself to `pending` and then looks whether `open`
// is still its generation; the caller takes `open` away and then looks at `pending`. Either the worker sees that it is late,
// or the caller sees the worker. A late worker has touched nothing but `pending`.
struct ThreadPool::State {
    alignas(kCacheLine) std::atomic<std::uint32_t> generation{0};
    std::atomic<std::uint32_t> open{0};
    std::atomic<std::uint32_t> sleepers{0};
    const FunctionRef<void(int)>* work = nullptr;
    std::atomic<bool> stopping{false};

    alignas(kCacheLine) std::atomic<std::uint32_t> pending{0};
    std::atomic<bool> caller_sleeps{false};

    alignas(kCacheLine) std::atomic<bool> failed{false};
    std::exception_ptr error;
    std::atomic<bool> running{false};
    std::vector<std::thread> workers;

    void start_generation(bool shared) {
        const std::uint32_t next = (generation.load(std::memory_order_relaxed) | 1u) + (shared ? 2u : 1u);
        open.store(next);
        generation.store(next);
        if (sleepers.load() > 0) futex_wake_all(generation);
    }

    void call(int thread) noexcept {
        try {
            (*work)(thread);
        } catch (...) {
            if (!failed.exchange(true)) error = std::current_exception();
        }
    }

    std::uint32_t wait_for_generation_after(std::uint32_t seen) {
        const auto changed = [&] { return generation.load(std::memory_order_acquire) != seen; };
        if (!spin_until(changed)) {
            sleepers.fetch_add(1);
            while (generation.load() == seen) futex_wait(generation, seen);
            sleepers.fetch_sub(1);
        }
        return generation.load(std::memory_order_acquire);
    }

    void worker_loop(int thread) {
        std::uint32_t seen = 0;
        while (true) {
            seen = wait_for_generation_after(seen);
            if (stopping) return;
            const bool shared = seen % 2 == 1;
            if (shared) pending.fetch_add(1);
            if (!shared || open.load() == seen) call(thread);
            if (pending.fetch_sub(1) == 1 && caller_sleeps.load()) futex_wake_all(pending);
        }
    }

    void wait_for_workers() {
        if (spin_until([&] { return pending.load(std::memory_order_acquire) == 0; })) return;
        caller_sleeps = true;
        while (const std::uint32_t left = pending.load()) futex_wait(pending, left);
        caller_sleeps = false;
    }

    void run(const FunctionRef<void(int)>& what, bool shared) {
        if (workers.empty()) return what(0);
        NARAE_CHECK(!running.exchange(true, std::memory_order_acquire), "ThreadPool::run inside or beside another run");
        work = &what;
        if (!shared) pending.fetch_add(static_cast<std::uint32_t>(workers.size()));
        start_generation(shared);
        call(0);
        open.store(0);
        wait_for_workers();
        running.store(false, std::memory_order_release);
        if (failed.load(std::memory_order_relaxed)) {
            failed.store(false, std::memory_order_relaxed);
            std::rethrow_exception(std::exchange(error, nullptr));
        }
    }

    void stop() {
        stopping = true;
        start_generation(false);
        for (std::thread& worker : workers) worker.join();
    }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
    if (threads < 1) throw_error<UsageError>("threads: found {}, need at least 1", threads);
    try {
        for (int t = 1; t < threads; ++t) state_->workers.emplace_back([state = state_.get(), t] { state->worker_loop(t); });
    } catch (const std::system_error& error) {
        const std::size_t started = state_->workers.size() + 1;
        state_->stop();
        throw_error<ResourceError>("threads: could start {} of {}: {}; try --threads {}", started, threads, error.what(),
                                   started);
    }
}

ThreadPool::~ThreadPool() { state_->stop(); }

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(FunctionRef<void(int)> work) { state_->run(work, false); }

void ThreadPool::share(FunctionRef<void(int)> work) { state_->run(work, true); }

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain, FunctionRef<void(std::int64_t, std::int64_t)> work) {
    if (count <= 0) return;
    grain = std::max<std::int64_t>(grain, 1);
    if (threads() == 1 || count <= grain) return work(0, count);
    // About eight pieces a thread: enough that a slow thread takes fewer, few enough that the counter costs nothing.
    constexpr std::int64_t kPiecesPerThread = 8;
    const std::int64_t grains = (count - 1) / grain + 1;
    const std::int64_t piece = std::max<std::int64_t>(1, grains / (kPiecesPerThread * threads())) * grain;
    alignas(kCacheLine) std::atomic<std::int64_t> next{0};
    share([&](int) {
        while (true) {
            const std::int64_t begin = next.fetch_add(piece, std::memory_order_relaxed);
            if (begin >= count) return;
            work(begin, std::min(count, begin + piece));
        }
    });
}

int usable_processors() {
    int usable = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) usable = std::max(1, CPU_COUNT(&set));
    for (const std::string& folder : cgroup_folders()) {
        // "200000 100000" microseconds of each period, or "max 100000" without a limit.
        const std::string limit = read_kernel_file(folder + "/cpu.max");
        std::int64_t quota = 0, period = 0;
        const char* const end = limit.data() + limit.size();
        const auto first = std::from_chars(limit.data(), end, quota);
        if (first.ec != std::errc() || first.ptr == end) continue;
        if (std::from_chars(first.ptr + 1, end, period).ec != std::errc() || quota <= 0 || period <= 0) continue;
        usable = static_cast<int>(std::clamp<std::int64_t>((quota - 1) / period + 1, 1, usable));
    }
    return usable;
}

}  // namespace narae
