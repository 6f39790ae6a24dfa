// Any bytes as a file of base logits, and as the state of an evaluation: BadFileError, or rows and values that can be read.
#include "base/error.h"
#include "base/log.h"
#include "eval/logits_file.h"
#include "eval/progress_state.h"
#include "mutation.h"

#include <algorithm>

using namespace narae;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    set_log_level(LogLevel::quiet);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const eval::LogitsFile file = eval::LogitsFile::parse(fuzz::bytes_of(data, size), "base");
        const std::vector<float> logits(static_cast<std::size_t>(file.vocab()), 1.0f);
        const eval::RowSums sums = eval::sum_row(logits);
        eval::BaseRow row;
        for (int window = 0; window < file.windows(); ++window) {
            for (int i = 0; i < file.rows_per_window(); ++i) {
                file.read_row(window, i, row);
                NARAE_CHECK(row.most_likely() >= 0 && row.most_likely() < file.vocab(), "most likely {}", row.most_likely());
                eval::kl_divergence_of_codes(row.codes, row.scale, row.least, logits, sums);
            }
        }
    } catch (const BadFileError&) {
    }
    try {
        eval::parse_progress({reinterpret_cast<const char*>(data), size}, "state");
    } catch (const BadFileError&) {
    }
    return 0;
}
