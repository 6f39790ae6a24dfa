// The base logits of llama-perplexity --kl-divergence-base, read and written, so that a base computed by either program serves
// the other. Layout, little-endian, as llama.cpp's tools/perplexity/perplexity.cpp writes and reads it (nothing of it is
// documented elsewhere):
//
//   bytes   "_logits_"
//   int32   window     tokens of a window (n_ctx)
//   int32   vocab
//   int32   windows    (n_chunk)
//   int32   ids[windows * window]   of the text, the first of each window not yet replaced by BOS
//   for each window, for each position window / 2 <= i < window - 1, which predicts the token at i + 1, a row:
//     float32 scale, float32 least     ln p(id) = scale * code[id] + least
//     uint16  code[vocab]              and one more, unused, where vocab is odd
//
// Codes cover at most 16 nats below the most likely token; what is less likely has code 0. They round ln p, natural
// logarithms of the softmax, by at most half a scale (16 / 65535 / 2).
//
// The file is untrusted: every size is checked when it is opened. Reading may be concurrent.
#pragma once

#include "base/file.h"
#include "eval/vocabulary_sums.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace narae::eval {

// One row, decoded.
struct BaseRow {
    float scale = 0.0f, least = 0.0f;
    std::vector<std::uint16_t> codes;  // [vocab]
    float log_probability(std::int32_t id) const {
        return scale * static_cast<float>(codes[static_cast<std::size_t>(id)]) + least;
    }
    std::int32_t most_likely() const;  // the lowest of equals
};

class LogitsFile {
public:
    // BadFileError: not such a file, truncated (saying how many windows are whole), numbers out of range.
    static LogitsFile open(const Path& path);
    // The same of bytes that outlive it.
    static LogitsFile parse(std::span<const std::byte> bytes, const std::string& what);

    int window() const { return window_; }
    int vocab() const { return vocab_; }
    int windows() const { return windows_; }
    int rows_per_window() const { return window_ - 1 - window_ / 2; }
    const std::vector<std::int32_t>& ids() const { return ids_; }  // [windows, window]
    std::string sha256() const;                                    // of all that is read from it
    // Fills `row`. BadFileError: scale or least that are no numbers.
    void read_row(int window, int index, BaseRow& row) const;

private:
    std::string what_;
    std::unique_ptr<MappedFile> file_;
    std::span<const std::byte> rows_;
    std::size_t row_bytes_ = 0;
    int window_ = 0, vocab_ = 0, windows_ = 0;
    std::vector<std::int32_t> ids_;
};

// One row as the file holds it: 4 + vocab values of 16 bits, one more where vocab is odd.
void encode_row(std::span<const float> logits, const RowSums& sums, std::vector<std::uint16_t>& row);

// Writes such a file, which appears whole with commit() or not at all.
class LogitsFileWriter {
public:
    // ids: [windows, window].
    LogitsFileWriter(const Path& path, int window, int vocab, std::span<const std::int32_t> ids);
    // The next row, in the order of the file.
    void append(std::span<const float> logits, const RowSums& sums);
    // Every row must have come.
    void commit();

private:
    AtomicFile file_;
    int vocab_;
    std::int64_t missing_;  // rows
    std::vector<std::uint16_t> row_;
};

}  // namespace narae::eval
