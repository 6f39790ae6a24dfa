// Key sequences: ECMA-48 and xterm's (invisible-island.net/xterm/ctlseqs), which all usual terminals send.
#include "cli/terminal/terminal.h"

#include "base/error.h"
#include "cli/output.h"
#include "text/unicode.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace narae::cli {
namespace {

constexpr int kEnded = -1, kSignal = -2, kNothing = -3;
// After ESC, the rest of a key's sequence comes at once; a person's next key does not.
constexpr int kSequenceMilliseconds = 50;
constexpr unsigned char kEscape = 0x1b;
constexpr std::string_view kMarkPastes = "\x1b[?2004h", kDoNotMarkPastes = "\x1b[?2004l", kPasteEnd = "\x1b[201~";
constexpr std::size_t kLargestPaste = std::size_t{16} << 20;

Key::Kind control_key(unsigned char byte) {
    switch (byte) {
        case 'A' & 0x1f:
            return Key::Kind::home;
        case 'B' & 0x1f:
            return Key::Kind::left;
        case 'C' & 0x1f:
            return Key::Kind::interrupt;
        case 'D' & 0x1f:
            return Key::Kind::end_of_input;
        case 'E' & 0x1f:
            return Key::Kind::end;
        case 'F' & 0x1f:
            return Key::Kind::right;
        case 'H' & 0x1f:
            return Key::Kind::backspace;
        case 'J' & 0x1f:
            return Key::Kind::enter;
        case 'K' & 0x1f:
            return Key::Kind::erase_to_end;
        case 'L' & 0x1f:
            return Key::Kind::clear_screen;
        case 'M' & 0x1f:
            return Key::Kind::enter;
        case 'N' & 0x1f:
            return Key::Kind::down;
        case 'P' & 0x1f:
            return Key::Kind::up;
        case 'U' & 0x1f:
            return Key::Kind::erase_to_begin;
        case 'W' & 0x1f:
            return Key::Kind::erase_word;
        case 'Z' & 0x1f:
            return Key::Kind::suspend;
        case 0x7f:
            return Key::Kind::backspace;
        default:
            return Key::Kind::ignored;
    }
}

// ESC [ parameters final, or ESC O final.
Key::Kind sequence_key(std::string_view parameters, char final) {
    const bool with_modifier = parameters.find(';') != std::string_view::npos;
    const std::string_view number = parameters.substr(0, parameters.find(';'));
    switch (final) {
        case 'A':
            return Key::Kind::up;
        case 'B':
            return Key::Kind::down;
        case 'C':
            return with_modifier ? Key::Kind::word_right : Key::Kind::right;
        case 'D':
            return with_modifier ? Key::Kind::word_left : Key::Kind::left;
        case 'H':
            return Key::Kind::home;
        case 'F':
            return Key::Kind::end;
        case '~':
            if (number == "1" || number == "7") return Key::Kind::home;
            if (number == "4" || number == "8") return Key::Kind::end;
            if (number == "3") return Key::Kind::erase;
            return Key::Kind::ignored;
        default:
            return Key::Kind::ignored;
    }
}

// Line ends as \n, tabs as spaces, no other control characters.
std::string clean_paste(std::string_view pasted) {
    std::string text;
    for (std::size_t i = 0; i < pasted.size(); ++i) {
        const char c = pasted[i];
        if (c == '\r' || c == '\n') {
            if (c == '\n' && i > 0 && pasted[i - 1] == '\r') continue;
            text += '\n';
        } else if (c == '\t') {
            text += "    ";
        } else if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
            text += c;
        }
    }
    return unicode::replace_invalid(text);
}

}  // namespace

Terminal::Terminal(const SignalWatch& signals) : signals_(signals) {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) throw_error<IoError>("standard input: {}", std::strerror(errno));
    apply();
    write_output(kMarkPastes);
    flush_output();
}

Terminal::~Terminal() {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    // The output may be gone; there is nobody to tell.
    [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, kDoNotMarkPastes.data(), kDoNotMarkPastes.size());
}

void Terminal::apply() {
    termios mode = before_;
    mode.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR | IXON | ISTRIP);
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | IEXTEN);
    mode.c_lflag = keys_only_ ? mode.c_lflag & ~static_cast<tcflag_t>(ISIG) : mode.c_lflag | ISIG;
    mode.c_oflag |= static_cast<tcflag_t>(OPOST | ONLCR);  // \n begins a row
    mode.c_cc[VSUSP] = _POSIX_VDISABLE;
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    // Drained, not flushed: keys that were pressed early are not lost.
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) != 0) throw_error<IoError>("terminal: {}", std::strerror(errno));
}

void Terminal::set_keys_only(bool keys_only) {
    keys_only_ = keys_only;
    apply();
}

void Terminal::suspend() {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    std::raise(SIGTSTP);
    apply();
}

int Terminal::columns() const {
    winsize size{};
    constexpr int kUsual = 80, kLeast = 4;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
    return std::max<int>(size.ws_col, kLeast);
}

int Terminal::read_byte(int timeout_milliseconds) {
    switch (signals_.wait_for(STDIN_FILENO, timeout_milliseconds)) {
        case SignalWatch::Ready::nothing:
            return kNothing;
        case SignalWatch::Ready::signal:
            return kSignal;
        case SignalWatch::Ready::input:
            break;
    }
    unsigned char byte = 0;
    return read(STDIN_FILENO, &byte, 1) == 1 ? byte : kEnded;
}

// The rest of a UTF-8 character; empty when it is none.
std::string Terminal::read_character(unsigned char first) {
    std::string text(1, static_cast<char>(first));
    while (unicode::complete_prefix(text) != text.size()) {
        const int byte = read_byte(kSequenceMilliseconds);
        if (byte < 0) return {};
        text += static_cast<char>(byte);
    }
    return unicode::is_valid(text) ? text : std::string();
}

Key Terminal::read_paste() {
    std::string pasted, tail;
    while (tail != kPasteEnd) {
        const int byte = read_byte(-1);
        if (byte == kSignal) return {Key::Kind::signal, ""};
        if (byte < 0) return {Key::Kind::ended, ""};
        if (pasted.size() < kLargestPaste) pasted += static_cast<char>(byte);
        tail += static_cast<char>(byte);
        if (tail.size() > kPasteEnd.size()) tail.erase(0, 1);
    }
    if (pasted.ends_with(kPasteEnd)) pasted.resize(pasted.size() - kPasteEnd.size());
    return {Key::Kind::text, clean_paste(pasted)};
}

Key Terminal::read_escape() {
    const int second = read_byte(kSequenceMilliseconds);
    if (second == '\r' || second == '\n') return {Key::Kind::newline, ""};
    if (second == 'b') return {Key::Kind::word_left, ""};
    if (second == 'f') return {Key::Kind::word_right, ""};
    if (second == 0x7f) return {Key::Kind::erase_word, ""};
    if (second != '[' && second != 'O') return {};
    std::string parameters;
    constexpr std::size_t kLongest = 16;
    while (parameters.size() < kLongest) {
        const int byte = read_byte(kSequenceMilliseconds);
        if (byte < 0) return {};
        if (byte >= 0x40 && byte <= 0x7e) {
            if (byte == '~' && parameters == "200") return read_paste();
            return {sequence_key(parameters, static_cast<char>(byte)), ""};
        }
        parameters += static_cast<char>(byte);
    }
    return {};
}

Key Terminal::read_key() {
    const int byte = read_byte(-1);
    if (byte == kSignal) return {Key::Kind::signal, ""};
    if (byte < 0) return {Key::Kind::ended, ""};
    if (byte == kEscape) return read_escape();
    if (byte == '\t') return {Key::Kind::text, "    "};
    if (byte < 0x20 || byte == 0x7f) return {control_key(static_cast<unsigned char>(byte)), ""};
    std::string text = read_character(static_cast<unsigned char>(byte));
    return text.empty() ? Key{} : Key{Key::Kind::text, std::move(text)};
}

}  // namespace narae::cli
