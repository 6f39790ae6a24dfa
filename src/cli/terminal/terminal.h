// The terminal of a conversation: its mode, its size, and the keys that are pressed. One at a time; one thread.
#pragma once

#include <termios.h>

#include <cstdint>
#include <string>

namespace narae::cli {

class SignalWatch;

struct Key {
    enum class Kind : std::uint8_t {
        text,  // a character, or what was pasted; valid UTF-8, lines end with \n
        enter,
        newline,
        backspace,
        erase,
        erase_word,
        erase_to_begin,
        erase_to_end,
        left,
        right,
        word_left,
        word_right,
        home,
        end,
        up,
        down,
        clear_screen,
        interrupt,
        suspend,
        end_of_input,
        ended,    // the terminal is gone
        signal,   // a signal came while waiting
        ignored,  // a key without meaning here
    };
    Kind kind = Kind::ignored;
    std::string text;
};

// While one lives, keys come one by one without being shown by the terminal, and pastes are marked; afterwards the terminal is
// as it was. Ctrl-C is a signal unless `keys_only` is set (while a line is edited, when it is a key).
class Terminal {
public:
    explicit Terminal(const SignalWatch& signals);  // standard input and output must be terminals
    ~Terminal();
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    void set_keys_only(bool keys_only);
    // Back to the shell until it continues the program.
    void suspend();
    int columns() const;
    // Waits for a key.
    Key read_key();

private:
    void apply();
    int read_byte(int timeout_milliseconds);  // -1: the end or an error, -2: a signal, -3: nothing came; timeout -1: waits
    Key read_escape();
    Key read_paste();
    std::string read_character(unsigned char first);

    const SignalWatch& signals_;
    termios before_{};
    bool keys_only_ = false;
};

}  // namespace narae::cli
