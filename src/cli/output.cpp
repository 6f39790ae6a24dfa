#include "cli/output.h"

#include "base/error.h"
#include "text/unicode.h"

#include <unistd.h>

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
