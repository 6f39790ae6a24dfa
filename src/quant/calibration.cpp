#include "quant/calibration.h"

#include "base/error.h"
#include "base/json.h"

#include <algorithm>

namespace narae {
namespace {

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

void add_json_lines(const Path& path, std::string_view text, std::vector<std::string>& documents) {
    int line = 0;
    for (std::size_t begin = 0; begin < text.size(); ++line) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view one = trimmed(text.substr(begin, end - begin));
        begin = end + 1;
        if (one.empty()) continue;
        const std::string what = fmt::format("{}, line {}", path.string(), line + 1);
        const Json json = parse_json(one, what);
        const std::optional<std::string> document =
            json.is_object() ? get_string(json, "text", what) : std::optional<std::string>{};
        if (!document) throw_error<BadFileError>("{}: no \"text\"; each line of a .jsonl needs an object with it", what);
        if (const std::string_view whole = trimmed(*document); !whole.empty()) documents.emplace_back(whole);
    }
}

void add_paragraphs(std::string_view text, std::vector<std::string>& documents) {
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find("\n\n", begin), text.size());
        if (const std::string_view one = trimmed(text.substr(begin, end - begin)); !one.empty()) documents.emplace_back(one);
        begin = end + 2;
    }
}

}  // namespace

std::vector<std::string> calibration_documents(std::span<const Path> files) {
    std::vector<std::string> documents;
    for (const Path& path : files) {
        const std::string text = read_text_file(path, std::uint64_t{1} << 30);
        if (path.extension() == ".jsonl")
            add_json_lines(path, text, documents);
        else
            add_paragraphs(text, documents);
    }
    return documents;
}

CalibrationSet calibration_set(const Tokenizer& tokenizer, std::span<const std::string> documents, int samples, int tokens) {
    NARAE_CHECK(samples > 0 && tokens > 0, "{} samples of {} tokens", samples, tokens);
    const auto wanted = static_cast<std::size_t>(samples) * static_cast<std::size_t>(tokens);
    std::vector<std::int32_t> all;
    for (const std::string& document : documents) {
        const std::vector<std::int32_t> ids = tokenizer.encode(document);
        all.insert(all.end(), ids.begin(), ids.end());
    }
    if (all.size() < wanted)
        throw_error<UsageError>(
            "{} samples of {} tokens need {} tokens of calibration text, there are {}; give more with --calibration, or ask "
            "for "
            "fewer with --samples and --seq-len",
            samples, tokens, wanted, all.size());
    CalibrationSet set{.samples = samples, .tokens = tokens, .ids = {}};
    const std::size_t pieces = all.size() / static_cast<std::size_t>(tokens);
    for (std::size_t sample = 0; sample < static_cast<std::size_t>(samples); ++sample) {
        const std::size_t piece = sample * pieces / static_cast<std::size_t>(samples);
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(piece * static_cast<std::size_t>(tokens));
        set.ids.insert(set.ids.end(), begin, begin + tokens);
    }
    return set;
}

}  // namespace narae
