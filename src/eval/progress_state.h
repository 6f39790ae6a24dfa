// What an evaluation has computed so far, in a file, so that a run that was killed goes on. The values are the doubles that
// results are computed from, exactly: a run that goes on ends with the same bits as one that was never interrupted.
//
// The file: a line "narae evaluation 1", a line of JSON (identity, windows, values, sha256 of the values' bytes), the values
// as little-endian float64. It is written whole or not at all.
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace narae::eval {

struct ProgressState {
    Json identity;             // everything that the values depend on
    std::int64_t windows = 0;  // that are done
    std::vector<double> values;
};

void save_progress(const Path& path, const ProgressState& state);
// Nothing when there is no such file. BadFileError: damaged, or another kind of file.
std::optional<ProgressState> load_progress(const Path& path);
ProgressState parse_progress(std::string_view bytes, std::string_view what);
// UsageError naming the members that differ, with both values.
void require_same_run(const Json& found, const Json& wanted, std::string_view what);

// A hash of all that a model computes with: configuration, names, formats, shapes and bytes of the weights.
std::string model_sha256(const Checkpoint& checkpoint, ThreadPool& threads);

}  // namespace narae::eval
