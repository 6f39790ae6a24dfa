// Texts that a model is calibrated with, as sequences of equal length.
#pragma once

#include "base/file.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace narae {

// The documents of the files, in order, without those that are empty: plain text, documents apart by blank lines, or .jsonl
// with "text" in each line. BadFileError naming file and line.
std::vector<std::string> calibration_documents(std::span<const Path> files);

struct CalibrationSet {
    int samples = 0, tokens = 0;
    std::vector<std::int32_t> ids;  // [samples, tokens]
};
// As AutoAWQ does: documents are tokenized one by one, put one after another, and cut into samples; spread evenly over the
// documents when there is more text than is needed. UsageError when there is too little: how much there is and how much is
// needed.
CalibrationSet calibration_set(const Tokenizer& tokenizer, std::span<const std::string> documents, int samples, int tokens);

}  // namespace narae
