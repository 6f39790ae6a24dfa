// Messages for the person at the terminal, on stderr. Never prompts or answers.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace narae {

enum class LogLevel { quiet, normal, verbose };
void set_log_level(LogLevel level);
LogLevel log_level();

// One line, whole, also from several threads. Control characters in it are shown, not sent to the terminal: names in
// messages may come from a file.
void write_log(std::string_view prefix, std::string_view text);

// Keeps `line` as the last line of the terminal, below later messages; an empty line takes it away. Only for a stderr
// that is a terminal. Any thread.
void set_status_line(std::string_view line);

template <class... Args>
void log_info(fmt::format_string<Args...> text, Args&&... args) {
    if (log_level() >= LogLevel::normal) write_log("", fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> text, Args&&... args) {
    if (log_level() >= LogLevel::verbose) write_log("", fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> text, Args&&... args) {
    if (log_level() >= LogLevel::normal) write_log("warning: ", fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace narae
