// A line that is being edited: text and a cursor that always stands between characters as a person sees them (a Korean
// syllable, an emoji, a letter with its marks). Plain value; knows nothing of terminals.
#pragma once

#include <string>
#include <string_view>

namespace narae::cli {

class Line {
public:
    const std::string& text() const { return text_; }
    std::size_t cursor() const { return cursor_; }  // a byte offset

    void set(std::string text);          // cursor at the end; valid UTF-8
    void insert(std::string_view text);  // valid UTF-8
    void backspace();                    // the character before the cursor
    void erase();                        // the one after it
    void erase_word();                   // back to the beginning of a word
    void erase_to_begin();               // of the row (pasted text may have several)
    void erase_to_end();
    void left();
    void right();
    void word_left();
    void word_right();
    void home();
    void end();

private:
    std::size_t word_begin_before(std::size_t at) const;
    std::size_t row_begin() const;
    std::size_t row_end() const;
    std::string text_;
    std::size_t cursor_ = 0;
};

struct ScreenPosition {
    int row = 0, column = 0;  // from the prompt's first cell
    bool operator==(const ScreenPosition&) const = default;
};

// How prompt and line lie on a screen of `columns` columns: what to write, with its rows broken where they are full (a wide
// character that does not fit goes to the next row whole), and where that leaves the end and the cursor.
struct Screen {
    std::string shown;
    ScreenPosition end, cursor;
};
Screen lay_out(std::string_view prompt, const Line& line, int columns);

}  // namespace narae::cli
