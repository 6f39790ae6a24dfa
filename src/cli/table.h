// A table for a person: columns aligned by what a terminal shows (Korean letters are two columns wide), or as Markdown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace narae::cli {

enum class Align { left, right };

class Table {
public:
    struct Column {
        Column(std::string title_text, Align cell_align = Align::left) : title(std::move(title_text)), align(cell_align) {}
        std::string title;
        Align align = Align::left;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    // As many cells as columns.
    void add(std::vector<std::string> cells);
    bool empty() const { return rows_.empty(); }
    // Lines with two spaces between columns; with or without the titles.
    std::string text(bool titles = true) const;
    std::string markdown() const;

private:
    std::vector<std::size_t> widths() const;
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

// 1234567 as "1,234,567".
std::string with_commas(std::uint64_t number);
// 134515008 as "134.5 M".
std::string count_text(std::uint64_t count);

}  // namespace narae::cli
