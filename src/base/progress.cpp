#include "base/progress.h"

#include "base/clock.h"
#include "base/log.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace narae {
namespace {

constexpr double kFirstDrawSeconds = 2.0, kRedrawSeconds = 0.1;

std::size_t terminal_columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string format_amount(double amount, const std::string& unit) {
    if (unit == "B") return format_bytes(static_cast<std::uint64_t>(amount));
    return fmt::format("{:.0f} {}", amount, unit);
}

std::string format_seconds(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::lround(std::min(seconds, 359'999.0)));
    if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressBar::ProgressBar(std::string title, std::uint64_t total, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      start_(monotonic_seconds()),
      enabled_(log_level() != LogLevel::quiet && isatty(STDERR_FILENO)) {}

ProgressBar::~ProgressBar() {
    if (drawn_) set_status_line("");
}

void ProgressBar::advance(std::uint64_t amount) {
    done_ += amount;
    if (!enabled_) return;
    const double now = monotonic_seconds();
    if (now - start_ >= kFirstDrawSeconds && now - last_draw_ >= kRedrawSeconds) draw(now);
}

void ProgressBar::draw(double now) {
    last_draw_ = now;
    drawn_ = true;
    const double done = static_cast<double>(std::min(done_, total_)), total = static_cast<double>(total_);
    const double share = total > 0 ? done / total : 1.0;
    const double rate = done / (now - start_);
    std::string line =
        fmt::format("{} {:3.0f} %  {} of {}", title_, 100 * share, format_amount(done, unit_), format_amount(total, unit_));
    if (rate > 0) line += fmt::format("  {}/s  {} left", format_amount(rate, unit_), format_seconds((total - done) / rate));
    // The last column stays empty: some terminals wrap when it is written.
    line.resize(std::min(line.size(), terminal_columns() - 1));
    set_status_line(line);
}

std::string format_bytes(std::uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double amount = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be printed as 1024.0.
    while (amount >= 1023.95 && unit + 1 < kUnits.size()) {
        amount /= 1024;
        ++unit;
    }
    return fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

}  // namespace narae
