#include "cli/output.h"

#include "base/error.h"
#include "text/unicode.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace narae::cli {
namespace {

volatile std::sig_atomic_t g_signal = 0;
volatile std::sig_atomic_t g_event = -1;

void remember(int signal) {
    g_signal = signal;
    const int error = errno;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(g_event, &one, sizeof one);
    errno = error;
}

}  // namespace

void write_output(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
        throw_error<IoError>("standard output: {}", std::strerror(errno));
}

void flush_output() {
    if (std::fflush(stdout) != 0) throw_error<IoError>("standard output: {}", std::strerror(errno));
}

bool output_is_terminal() { return isatty(STDOUT_FILENO) == 1; }

std::string terminal_text(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const unicode::Decoded next = unicode::decode(text, at);
        const bool c0 = next.code_point < 0x20 && next.code_point != '\n' && next.code_point != '\t';
        if (c0 || (next.code_point >= 0x7f && next.code_point < 0xa0))
            out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(next.code_point));
        else
            out += text.substr(at, next.length);
        at += next.length;
    }
    return out;
}

SignalWatch::SignalWatch() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (event_ < 0) throw_error<ResourceError>("eventfd: {}", std::strerror(errno));
    g_signal = 0;
    g_event = event_;
    struct sigaction action = {};
    action.sa_handler = remember;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

SignalWatch::~SignalWatch() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    g_event = -1;
    close(event_);
}

int SignalWatch::caught() const { return g_signal; }

void SignalWatch::clear() {
    g_signal = 0;
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t taken = read(event_, &count, sizeof count);
}

SignalWatch::Ready SignalWatch::wait_for(int descriptor, int timeout_milliseconds) const {
    while (true) {
        pollfd waited[] = {{event_, POLLIN, 0}, {descriptor, POLLIN, 0}};
        const int ready = poll(waited, 2, timeout_milliseconds);
        if (ready < 0 && errno != EINTR) throw_error<IoError>("poll: {}", std::strerror(errno));
        if (ready < 0) continue;
        if (waited[0].revents != 0) return Ready::signal;
        return ready == 0 ? Ready::nothing : Ready::input;
    }
}

}  // namespace narae::cli
