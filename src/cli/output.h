// Output of the verbs: text for the user to stdout (a failed write is IoError), and the signals of a person who has seen
// enough.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace narae::cli {

void write_output(std::string_view text);
void flush_output();

template <class... Args>
void print_output(fmt::format_string<Args...> text, Args&&... args) {
    write_output(fmt::format(text, std::forward<Args>(args)...));
}

// Whether standard output is a person's terminal.
bool output_is_terminal();
// Text as it may be sent to a terminal: control characters but line ends and tabs are shown, not obeyed. A model may say
// anything.
std::string terminal_text(std::string_view text);

// Thrown by a verb that ended because of a signal; the program exits with 128 + signal.
class Interrupted {
public:
    explicit Interrupted(int signal) : signal_(signal) {}
    int exit_code() const { return 128 + signal_; }

private:
    int signal_;
};

// While one lives, SIGINT and SIGTERM are remembered instead of ending the program. One at a time.
class SignalWatch {
public:
    enum class Ready { input, nothing, signal };

    SignalWatch();
    ~SignalWatch();
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;
    int caught() const;  // 0, or the signal; the last one wins
    void clear();
    // Waits until the descriptor can be read (or has ended), a signal is remembered, or the time is over (-1: never). A signal
    // that comes before the waiting is not missed: it is also written to a descriptor that is waited for.
    Ready wait_for(int descriptor, int timeout_milliseconds) const;

private:
    int event_;  // an eventfd; readable while a signal is remembered
};

}  // namespace narae::cli
