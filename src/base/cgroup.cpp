#include "base/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

namespace narae {

std::string read_kernel_file(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    std::string text;
    char buffer[4096];
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(n));
    close(fd);
    return text;
}

std::vector<std::string> cgroup_folders() {
    constexpr std::string_view kMount = "/sys/fs/cgroup", kUnified = "0::";
    const std::string groups = read_kernel_file("/proc/self/cgroup");
    std::size_t line = groups.starts_with(kUnified) ? 0 : groups.find("\n0::");
    if (line == std::string::npos) return {};
    if (line > 0) ++line;
    std::string group = groups.substr(line + kUnified.size(), groups.find('\n', line) - line - kUnified.size());
    while (group.ends_with('/')) group.pop_back();

    std::vector<std::string> folders;
    while (true) {
        folders.push_back(std::string(kMount) + group);
        if (group.empty()) return folders;
        const std::size_t slash = group.rfind('/');
        group.resize(slash == std::string::npos ? 0 : slash);
    }
}

}  // namespace narae
