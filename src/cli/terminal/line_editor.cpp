#include "cli/terminal/line_editor.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/output.h"

#include <sys/stat.h>

#include <algorithm>

namespace narae::cli {
namespace {

constexpr std::size_t kKeptLines = 1000;

// Files that are made while one lives can be read by this user only.
class PrivateFiles {
public:
    PrivateFiles() : before_(umask(S_IRWXG | S_IRWXO)) {}
    ~PrivateFiles() { umask(before_); }
    PrivateFiles(const PrivateFiles&) = delete;
    PrivateFiles& operator=(const PrivateFiles&) = delete;

private:
    mode_t before_;
};

}  // namespace

void History::add(std::string line) {
    if (!line.empty() && (lines_.empty() || lines_.back() != line)) lines_.push_back(std::move(line));
}

void History::load(const Path& path) {
    if (!file_system().is_file(path)) return;
    const std::string text = read_text_file(path);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const Json line = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(at),
                                      text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
        if (line.is_string()) add(line.get<std::string>());
        at = end + 1;
    }
}

void History::save(const Path& path) const {
    const PrivateFiles scope;
    file_system().create_directories(path.parent_path());
    AtomicFile file(path);
    for (std::size_t i = lines_.size() - std::min(lines_.size(), kKeptLines); i < lines_.size(); ++i)
        file.write(dump_json(lines_[i]) + "\n");
    file.commit();
}

void LineEditor::begin_row() {
    cursor_row_ = 0;
    shown_.clear();
}

void LineEditor::show() {
    Screen screen = lay_out(prompt_, line_, terminal_.columns());
    const bool at_end = screen.cursor == screen.end;
    std::string out;
    if (!shown_.empty() && at_end && screen.shown.starts_with(shown_)) {
        out = screen.shown.substr(shown_.size());  // typing at the end adds to what stands there
    } else {
        if (cursor_row_ > 0) out += fmt::format("\x1b[{}A", cursor_row_);
        out += "\r\x1b[J" + screen.shown;
        if (!at_end) {
            if (const int up = screen.end.row - screen.cursor.row; up > 0) out += fmt::format("\x1b[{}A", up);
            out += "\r";
            if (screen.cursor.column > 0) out += fmt::format("\x1b[{}C", screen.cursor.column);
        }
    }
    cursor_row_ = screen.cursor.row;
    shown_ = at_end ? std::move(screen.shown) : "";
    write_output(out);
    flush_output();
}

void LineEditor::leave() {
    const Screen screen = lay_out(prompt_, line_, terminal_.columns());
    if (const int down = screen.end.row - cursor_row_; down > 0) write_output(fmt::format("\x1b[{}B", down));
    write_output("\n");
    flush_output();
    begin_row();
}

void LineEditor::browse(int direction) {
    if (direction < 0 ? place_ == 0 : place_ == history_.size()) return;
    if (place_ == history_.size()) draft_ = line_.text();
    place_ = direction < 0 ? place_ - 1 : place_ + 1;
    line_.set(place_ == history_.size() ? draft_ : history_.at(place_));
}

// Keys that change the line or move in it; false for those that end the editing.
bool LineEditor::edit(const Key& key) {
    switch (key.kind) {
        case Key::Kind::text:
            line_.insert(key.text);
            return true;
        case Key::Kind::newline:
            line_.insert("\n");
            return true;
        case Key::Kind::backspace:
            line_.backspace();
            return true;
        case Key::Kind::erase:
            line_.erase();
            return true;
        case Key::Kind::erase_word:
            line_.erase_word();
            return true;
        case Key::Kind::erase_to_begin:
            line_.erase_to_begin();
            return true;
        case Key::Kind::erase_to_end:
            line_.erase_to_end();
            return true;
        case Key::Kind::left:
            line_.left();
            return true;
        case Key::Kind::right:
            line_.right();
            return true;
        case Key::Kind::word_left:
            line_.word_left();
            return true;
        case Key::Kind::word_right:
            line_.word_right();
            return true;
        case Key::Kind::home:
            line_.home();
            return true;
        case Key::Kind::end:
            line_.end();
            return true;
        case Key::Kind::up:
            browse(-1);
            return true;
        case Key::Kind::down:
            browse(+1);
            return true;
        case Key::Kind::clear_screen:
            write_output("\x1b[H\x1b[2J");
            begin_row();
            return true;
        case Key::Kind::suspend:
            leave();
            terminal_.suspend();
            return true;
        case Key::Kind::ignored:
            return true;
        default:
            return false;
    }
}

LineEditor::Result LineEditor::read(std::string_view prompt, std::string& line) {
    prompt_ = prompt;
    line_.set("");
    place_ = history_.size();
    begin_row();
    terminal_.set_keys_only(true);
    const auto done = [&](Result result) {
        leave();
        terminal_.set_keys_only(false);
        line = line_.text();
        return result;
    };
    while (true) {
        show();
        const Key key = terminal_.read_key();
        if (edit(key)) continue;
        switch (key.kind) {
            case Key::Kind::enter:
                return done(Result::line);
            case Key::Kind::interrupt:
                if (line_.text().empty()) return done(Result::interrupted);
                leave();
                line_.set("");
                place_ = history_.size();
                break;
            case Key::Kind::end_of_input:
                if (line_.text().empty()) return done(Result::end);
                line_.erase();
                break;
            case Key::Kind::ended:
                return done(Result::end);
            default:
                return done(Result::signal);
        }
    }
}

}  // namespace narae::cli
