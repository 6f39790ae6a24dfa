// Limits that a container (a Linux control group, version 2) puts on this process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace narae {

// The folders of the process's control group and of its parents, innermost first; empty where there are none.
std::vector<std::string> cgroup_folders();

// A small file of the kernel (/proc, /sys) as text; empty when it cannot be read. It has no size before it is read, so
// the FileSystem does not fit.
std::string read_kernel_file(const std::string& path);

}  // namespace narae
