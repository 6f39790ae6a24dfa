// A progress bar on stderr for work that may take over two seconds: one line with share, amount, rate and time left.
// Draws nothing when stderr is not a terminal or the log is quiet, and nothing for work that ends sooner.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace narae {

class ProgressBar {
public:
    // unit: "B" prints bytes as KiB, MiB, GiB; any other word is printed as it is.
    ProgressBar(std::string title, std::uint64_t total, std::string unit);
    ~ProgressBar();  // clears the line
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;
    void advance(std::uint64_t amount);
    void set_title(std::string title) { title_ = std::move(title); }

private:
    void draw(double now);
    std::string title_, unit_;
    std::uint64_t total_, done_ = 0;
    double start_, last_draw_ = 0;
    bool enabled_, drawn_ = false;
};

// "1.5 GiB"
std::string format_bytes(std::uint64_t bytes);

}  // namespace narae
