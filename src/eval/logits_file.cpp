#include "eval/logits_file.h"

#include "base/error.h"
#include "base/sha256.h"
#include "checkpoint/byte_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace narae::eval {
namespace {

constexpr std::string_view kMagic = "_logits_";
constexpr std::int32_t kMostWindow = 1 << 24, kMostVocab = 1 << 24;
constexpr float kRange = 16.0f;  // nats that the codes cover

std::size_t row_values(int vocab) { return 4 + static_cast<std::size_t>(vocab) + static_cast<std::size_t>(vocab % 2); }

}  // namespace

std::int32_t BaseRow::most_likely() const {
    // Codes ascend with probability but for a scale of 0, where all are equal.
    return scale > 0.0f ? static_cast<std::int32_t>(std::ranges::max_element(codes) - codes.begin()) : 0;
}

LogitsFile LogitsFile::open(const Path& path) {
    auto file = std::make_unique<MappedFile>(path);
    LogitsFile logits = parse(file->bytes(), path.string());
    logits.file_ = std::move(file);
    return logits;
}

LogitsFile LogitsFile::parse(std::span<const std::byte> bytes, const std::string& what) {
    LogitsFile f;
    f.what_ = what;
    ByteReader reader(bytes, what);
    const auto magic = reader.take(kMagic.size(), {"magic"});
    if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
        throw_error<BadFileError>(
            "{}: does not begin with \"{}\"; need a file of llama-perplexity --kl-divergence-base or narae --save-base", what,
            kMagic);
    f.window_ = reader.number<std::int32_t>({"n_ctx"});
    f.vocab_ = reader.number<std::int32_t>({"n_vocab"});
    f.windows_ = reader.number<std::int32_t>({"n_chunk"});
    if (f.window_ < 4 || f.window_ > kMostWindow)
        throw_error<BadFileError>("{}: windows of {} tokens, need 4 to {}", what, f.window_, kMostWindow);
    if (f.vocab_ < 1 || f.vocab_ > kMostVocab)
        throw_error<BadFileError>("{}: a vocabulary of {}, need 1 to {}", what, f.vocab_, kMostVocab);
    if (f.windows_ < 1) throw_error<BadFileError>("{}: {} windows, need at least 1", what, f.windows_);

    const std::uint64_t count = static_cast<std::uint64_t>(f.window_) * static_cast<std::uint64_t>(f.windows_);
    const std::span<const std::byte> ids = reader.take(count * sizeof(std::int32_t), {"ids"});
    f.row_bytes_ = row_values(f.vocab_) * sizeof(std::uint16_t);
    // At most 2^23 rows of 2^25 bytes: a window's bytes fit, and are compared with what there is before they are multiplied.
    const std::uint64_t window_bytes = static_cast<std::uint64_t>(f.rows_per_window()) * f.row_bytes_;
    const std::uint64_t whole = reader.left() / window_bytes;
    if (whole < static_cast<std::uint64_t>(f.windows_))
        throw_error<BadFileError>(
            "{}: {} windows of {} tokens are said to be there, but only {} are whole; it is truncated, write it again", what,
            f.windows_, f.window_, whole);
    if (reader.left() != window_bytes * static_cast<std::uint64_t>(f.windows_))
        throw_error<BadFileError>("{}: {} bytes after the last of {} windows; the file is damaged", what,
                                  reader.left() - window_bytes * static_cast<std::uint64_t>(f.windows_), f.windows_);
    f.rows_ = reader.take(reader.left(), {"rows"});
    f.ids_.resize(count);
    std::memcpy(f.ids_.data(), ids.data(), ids.size());
    for (std::size_t i = 0; i < f.ids_.size(); ++i)
        if (f.ids_[i] < 0 || f.ids_[i] >= f.vocab_)
            throw_error<BadFileError>("{}: token {} has id {}, need 0 to {}", what, i, f.ids_[i], f.vocab_ - 1);
    return f;
}

std::string LogitsFile::sha256() const {
    Sha256 sha;
    sha.update(fmt::format("{} {} {} ", window_, vocab_, windows_));
    sha.update(std::as_bytes(std::span(ids_)));
    sha.update(rows_);
    return sha.finish();
}

void LogitsFile::read_row(int window, int index, BaseRow& row) const {
    NARAE_CHECK(window >= 0 && window < windows_ && index >= 0 && index < rows_per_window(), "row {} of window {}", index,
                window);
    const std::size_t number =
        static_cast<std::size_t>(window) * static_cast<std::size_t>(rows_per_window()) + static_cast<std::size_t>(index);
    const std::byte* const at = rows_.data() + number * row_bytes_;
    row.scale = load_number<float>(at);
    row.least = load_number<float>(at + sizeof(float));
    // ln p is at most 0 and, the vocabulary's size and 16 nats below it, not far from there.
    if (!(row.scale >= 0.0f && row.scale <= 1.0f && std::isfinite(row.least)))
        throw_error<BadFileError>("{}: row {} of window {}: scale {}, least {}; need finite numbers, the scale 0 to 1", what_,
                                  index, window, row.scale, row.least);
    row.codes.resize(static_cast<std::size_t>(vocab_));
    std::memcpy(row.codes.data(), at + 2 * sizeof(float), row.codes.size() * sizeof(std::uint16_t));
}

void encode_row(std::span<const float> logits, const RowSums& sums, std::vector<std::uint16_t>& row) {
    const float lowest = std::max(sums.min, sums.max - kRange);
    const float scale = (sums.max - lowest) / 65535.0f;
    const float least = lowest - sums.max - static_cast<float>(sums.log_sum);
    row.assign(row_values(static_cast<int>(logits.size())), 0);
    std::memcpy(row.data(), &scale, sizeof scale);
    std::memcpy(row.data() + 2, &least, sizeof least);
    if (scale <= 0.0f) return;
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, halves to even
    const float inverse = 1.0f / scale;
    std::uint16_t* const codes = row.data() + 4;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const float steps = inverse * (std::max(logits[i], lowest) - lowest);
        codes[i] = static_cast<std::uint16_t>(static_cast<std::int32_t>(std::min(steps, 65535.0f) + kRound - kRound));
    }
}

LogitsFileWriter::LogitsFileWriter(const Path& path, int window, int vocab, std::span<const std::int32_t> ids)
    : file_(path), vocab_(vocab) {
    NARAE_CHECK(window >= 4 && !ids.empty() && ids.size() % static_cast<std::size_t>(window) == 0, "{} ids, windows of {}",
                ids.size(), window);
    const auto windows = static_cast<std::int32_t>(ids.size() / static_cast<std::size_t>(window));
    missing_ = std::int64_t{windows} * (window - 1 - window / 2);
    file_.write(kMagic);
    const std::int32_t numbers[] = {window, vocab, windows};
    file_.write(std::as_bytes(std::span(numbers)));
    file_.write(std::as_bytes(ids));
}

void LogitsFileWriter::append(std::span<const float> logits, const RowSums& sums) {
    NARAE_CHECK(logits.size() == static_cast<std::size_t>(vocab_) && missing_ > 0, "a row of {}, {} missing", logits.size(),
                missing_);
    encode_row(logits, sums, row_);
    file_.write(std::as_bytes(std::span(row_)));
    --missing_;
}

void LogitsFileWriter::commit() {
    NARAE_CHECK(missing_ == 0, "{} rows are missing", missing_);
    file_.commit();
}

}  // namespace narae::eval
