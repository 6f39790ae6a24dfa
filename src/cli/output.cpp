#include "cli/output.h"

#include "base/error.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace narae::cli {
namespace {

volatile std::sig_atomic_t g_signal = 0;
void remember(int signal) { g_signal = signal; }

}  // namespace

void write_output(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
        throw_error<IoError>("standard output: {}", std::strerror(errno));
}

void flush_output() {
    if (std::fflush(stdout) != 0) throw_error<IoError>("standard output: {}", std::strerror(errno));
}

SignalWatch::SignalWatch() {
    g_signal = 0;
    struct sigaction action = {};
    action.sa_handler = remember;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

SignalWatch::~SignalWatch() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
}

int SignalWatch::caught() const { return g_signal; }
void SignalWatch::clear() { g_signal = 0; }

}  // namespace narae::cli
