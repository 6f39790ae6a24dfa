#include "cli/table.h"

#include "base/error.h"
#include "text/unicode.h"

#include <algorithm>

namespace narae::cli {
namespace {

std::size_t width_of(std::string_view text) { return static_cast<std::size_t>(unicode::display_width(text)); }

std::string padded(const std::string& text, std::size_t width, Align align) {
    const std::string spaces(width - std::min(width, width_of(text)), ' ');
    return align == Align::left ? text + spaces : spaces + text;
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
    NARAE_CHECK(cells.size() == columns_.size(), "{} cells, {} columns", cells.size(), columns_.size());
    rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::widths() const {
    std::vector<std::size_t> widths;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
        std::size_t width = width_of(columns_[c].title);
        for (const auto& row : rows_) width = std::max(width, width_of(row[c]));
        widths.push_back(width);
    }
    return widths;
}

std::string Table::text(bool titles) const {
    const std::vector<std::size_t> width = widths();
    std::string out;
    const auto line = [&](auto&& cell) {
        std::string text;
        for (std::size_t c = 0; c < columns_.size(); ++c)
            text += (c ? "  " : "") + padded(cell(c), width[c], columns_[c].align);
        text.erase(text.find_last_not_of(' ') + 1);
        out += text + "\n";
    };
    if (titles) line([&](std::size_t c) { return columns_[c].title; });
    for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
    return out;
}

std::string Table::markdown() const {
    const std::vector<std::size_t> width = widths();
    std::string out;
    const auto line = [&](auto&& cell) {
        out += "|";
        for (std::size_t c = 0; c < columns_.size(); ++c) out += " " + padded(cell(c), width[c], columns_[c].align) + " |";
        out += "\n";
    };
    line([&](std::size_t c) { return columns_[c].title; });
    line([&](std::size_t c) {
        const std::string dashes(std::max<std::size_t>(width[c], 2) - 1, '-');
        return columns_[c].align == Align::left ? dashes + "-" : dashes + ":";
    });
    for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
    return out;
}

std::string with_commas(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
    return digits;
}

std::string count_text(std::uint64_t count) {
    const auto value = static_cast<double>(count);
    if (value >= 1e9) return fmt::format("{:.2f} B", value / 1e9);
    if (value >= 1e6) return fmt::format("{:.1f} M", value / 1e6);
    if (value >= 1e4) return fmt::format("{:.1f} K", value / 1e3);
    return std::to_string(count);
}

}  // namespace narae::cli
