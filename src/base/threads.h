// A fixed team of threads for data-parallel work. The caller is thread 0. Between calls the others wait: they spin
// for at most 50 us, then sleep in the kernel, so an idle program uses no processor time.
#pragma once

#include "base/function_ref.h"

#include <cstdint>
#include <memory>

namespace narae {

class ThreadPool {
public:
    explicit ThreadPool(int threads);  // >= 1
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const;

    // Calls work(t) once for every t in [0, threads()), each on its own thread, and returns when all are done. The
    // first exception is rethrown. One call at a time; not from inside `work`.
    void run(FunctionRef<void(int)> work);

    // Calls work(0) here and work(t) at most a few times on each of the other threads that come before work(0) returns:
    // `work` takes its pieces from a counter until none are left, and leaves at once when there are none. A thread that the
    // system does not let run (other programs are busy) delays nobody, as it would in run(). Otherwise as run().
    void share(FunctionRef<void(int)> work);

    // Calls work(begin, end) for pieces of [0, count), cut at multiples of `grain`; pieces are taken from a counter,
    // so which thread computes a piece is not fixed: results must not depend on it.
    void parallel_for(std::int64_t count, std::int64_t grain, FunctionRef<void(std::int64_t, std::int64_t)> work);

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Processors that this process may use (affinity and container limits included), at least 1.
int usable_processors();

}  // namespace narae
