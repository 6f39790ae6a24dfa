// What the tests share: where the data is, scratch folders, files as bytes.
#pragma once

#include "base/file.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace narae::test {

// A file that the repository holds: tests/data/NAME.
Path data_file(std::string_view name);

// The folder that NARAE_TEST_DATA names (data sets too large for the repository), or an empty path. Tests that need it:
//   NARAE_NEEDS_TEST_DATA(folder);
Path large_data_folder();

// The default model, SmolLM2-135M-Instruct Q4_1: ${NARAE_TEST_MODEL} or in the cache folder. Throws when it is missing,
// so that a test which lacks the model fails; `make test` fetches it.
Path default_model();

// A fresh folder, removed with the object.
class ScratchFolder {
public:
    ScratchFolder();
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const Path& path() const { return path_; }
    // Writes a file into the folder and returns its path.
    Path write(std::string_view name, std::string_view contents) const;

private:
    Path path_;
};

// FILE.zst decompressed with the zstd program, or a plain file; a member of an archive FILE.tar.zst.
std::string read_zst(const Path& path);
std::string read_tar_zst(const Path& archive, std::string_view member);

}  // namespace narae::test

#define NARAE_NEEDS_TEST_DATA(folder)                                \
    const ::narae::Path folder = ::narae::test::large_data_folder(); \
    if (folder.empty()) GTEST_SKIP() << "needs the test data folder: set NARAE_TEST_DATA"
