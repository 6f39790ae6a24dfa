#include "support/support.h"

#include "base/error.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace narae::test {
namespace {

std::string output_of(const std::string& command) {
    FILE* pipe = popen(command.c_str(), "r");
    if (!pipe) throw std::runtime_error("cannot run " + command);
    std::string out;
    char buffer[1 << 16];
    while (const std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
    if (pclose(pipe) != 0) throw std::runtime_error("failed: " + command);
    return out;
}

}  // namespace

Path data_file(std::string_view name) { return Path(NARAE_TEST_FOLDER) / "data" / name; }

Path large_data_folder() {
    const char* folder = std::getenv("NARAE_TEST_DATA");
    return folder && *folder ? Path(folder) : Path();
}

Path default_model() {
    const char* given = std::getenv("NARAE_TEST_MODEL");
    const Path path = given && *given ? Path(given) : cache_folder() / "SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path))
        throw std::runtime_error(fmt::format("{} is missing: run tools/fetch_default_model", path.string()));
    return path;
}

ScratchFolder::ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "narae-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

Path ScratchFolder::write(std::string_view name, std::string_view contents) const {
    const Path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << contents;
    return path;
}

std::string read_zst(const Path& path) {
    if (path.extension() == ".zst") return output_of(fmt::format("zstd -dcq '{}'", path.string()));
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

std::string read_tar_zst(const Path& archive, std::string_view member) {
    return output_of(fmt::format("zstd -dcq '{}' | tar xO '{}'", archive.string(), member));
}

}  // namespace narae::test
