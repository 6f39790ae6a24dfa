// Time, with a seam so that tests can fix it.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace narae {

// Seconds of a steady clock; for durations.
double monotonic_seconds();

// Wall clock, seconds since the epoch; what chat templates see as now.
std::time_t wall_clock();

// Fixes wall_clock() for a scope (tests, goldens). Not for use by several threads at once.
class FixedWallClock {
public:
    explicit FixedWallClock(std::time_t now);
    ~FixedWallClock();
    FixedWallClock(const FixedWallClock&) = delete;
    FixedWallClock& operator=(const FixedWallClock&) = delete;
};

}  // namespace narae
