#include "base/clock.h"

#include <atomic>

namespace narae {
namespace {
constexpr std::int64_t kRunning = INT64_MIN;
std::atomic<std::int64_t> g_fixed{kRunning};
}  // namespace

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::time_t wall_clock() {
    const std::int64_t fixed = g_fixed.load();
    return fixed == kRunning ? std::time(nullptr) : static_cast<std::time_t>(fixed);
}

FixedWallClock::FixedWallClock(std::time_t now) { g_fixed = now; }
FixedWallClock::~FixedWallClock() { g_fixed = kRunning; }

}  // namespace narae
