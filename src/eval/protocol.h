// How perplexity is measured: which windows a text is cut into, which of their tokens count, and with what weight. Numbers of
// different protocols must never be compared; a protocol's name and what defines it are part of every result.
//
//   gptq-2048      The GPTQ and AWQ papers (IST-DASLab/gptq llama.py, opt.py): the whole text is tokenized once; windows of
//                  2048 tokens without overlap, the rest at the end dropped; every token of a window but the first counts; the
//                  mean over a window times its length is summed, and divided by windows x length.
//   llama.cpp-512  llama-perplexity (llama.cpp tools/perplexity/perplexity.cpp): windows of 512 tokens without overlap, the
//                  rest dropped; the first token of each is replaced by BOS where the tokenizer adds one; predictions at
//                  positions from 256 on count, 255 in a window; special tokens are not recognised in the text.
//   hf-strided     transformers' documentation (perplexity of fixed-length models): windows as long as the model takes, each
//                  `stride` tokens after the one before; only tokens that no earlier window saw count, and the mean over them
//                  is weighted by their number less one in every window, as the recipe does (it subtracts the shift of labels
//                  everywhere, although only the first window loses a label by it). A last window of one token, of which
//                  the recipe makes NaN, is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae::eval {

enum class Protocol : std::uint8_t { gptq_2048, llamacpp_512, hf_strided };
std::string_view protocol_name(Protocol protocol);
std::optional<Protocol> find_protocol(std::string_view name);

// How a file becomes one text. lines: each line is a row of a data set (blank lines are empty rows, other rows keep their line
// end, as `datasets` gives WikiText), rows joined by "\n\n". whole: the bytes as they are.
enum class Rows : std::uint8_t { lines, whole };

struct ProtocolSettings {
    Protocol protocol = Protocol::llamacpp_512;
    int window = 512;
    int stride = 512;  // hf-strided; otherwise the window
    Rows rows = Rows::whole;
    bool parse_special = false;       // "<s>" in the text is the token
    bool bos_in_each_window = false;  // the first token is replaced by BOS (llama.cpp-512, where the tokenizer adds BOS)
};
// What the protocol says; window and stride 0: its own (hf-strided: model_context). UsageError: a window or stride that the
// protocol cannot have.
ProtocolSettings protocol_settings(Protocol protocol, int window, int stride, int model_context, bool tokenizer_adds_bos);

// Tokens [begin, begin + length) are fed; those at [first_target, length) within the window count, each predicted from what
// comes before it.
struct Window {
    std::int64_t begin = 0;
    int length = 0;
    int first_target = 1;
    double weight = 0.0;  // of the mean over the window's targets
    int targets() const { return length - first_target; }
};
// The windows of so many tokens, in order; the first `chunks` of them (0: all). UsageError: not one.
std::vector<Window> cut_windows(const ProtocolSettings& settings, std::int64_t tokens, int chunks);
// Where the values of each window's targets begin in a list of all that has `first` before them; then the list's end.
std::vector<std::size_t> places_of_targets(std::span<const Window> windows, std::size_t first);

// The rows of a file joined as Rows::lines says.
std::string join_lines(std::string_view text);

}  // namespace narae::eval
