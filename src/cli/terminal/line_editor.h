// Reads lines from a terminal with editing and history. Ctrl-C empties the line; at an empty line it is told to the caller.
#pragma once

#include "base/file.h"
#include "cli/terminal/line.h"
#include "cli/terminal/terminal.h"

#include <string>
#include <string_view>
#include <vector>

namespace narae::cli {

// What was entered before. Equal neighbours are one entry.
class History {
public:
    void add(std::string line);
    std::size_t size() const { return lines_.size(); }
    const std::string& at(std::size_t index) const { return lines_[index]; }

    // A JSON string a line; a file that is missing or is none gives nothing. Written for this user only, the newest 1,000
    // lines.
    void load(const Path& path);
    void save(const Path& path) const;

private:
    std::vector<std::string> lines_;
};

class LineEditor {
public:
    LineEditor(Terminal& terminal, History& history) : terminal_(terminal), history_(history) {}

    enum class Result { line, interrupted, end, signal };
    // Shows the prompt and edits until Enter. `line` gets the text (which may have several rows: Alt-Enter, a paste).
    Result read(std::string_view prompt, std::string& line);

private:
    void begin_row();  // at the beginning of an empty row
    void show();
    void leave();  // the cursor to the row below the line
    void browse(int direction);
    bool edit(const Key& key);

    Terminal& terminal_;
    History& history_;
    std::string_view prompt_;
    Line line_;
    std::string draft_;      // what was typed before browsing
    std::size_t place_ = 0;  // in the history; its size: the draft
    std::string shown_;      // what show() wrote, while the cursor stands at its end; otherwise empty
    int cursor_row_ = 0;     // where show() left the cursor
};

}  // namespace narae::cli
