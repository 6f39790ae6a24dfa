#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>

namespace narae {
namespace {

std::atomic<LogLevel> g_level{LogLevel::normal};
std::mutex g_mutex;
std::string g_status_line;

constexpr std::string_view kClearLine = "\r\x1b[K";

// One system call for one line, so that lines of several processes do not mix either.
void write_all(std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
        if (n <= 0) return;  // a closed stderr: there is nobody to tell
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

void append_visible(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
}

}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void write_log(std::string_view prefix, std::string_view text) {
    const std::lock_guard lock(g_mutex);
    std::string line;
    if (!g_status_line.empty()) line += kClearLine;
    line += prefix;
    append_visible(line, text);
    line += '\n';
    line += g_status_line;
    write_all(line);
}

void set_status_line(std::string_view line) {
    const std::lock_guard lock(g_mutex);
    std::string visible;
    append_visible(visible, line);
    if (visible.empty() && g_status_line.empty()) return;
    g_status_line = visible;
    write_all(std::string(kClearLine) + visible);
}

}  // namespace narae
