#include "base/memory.h"

#include "base/cgroup.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace narae {
namespace {

std::optional<std::uint64_t> leading_number(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    std::uint64_t value;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return std::nullopt;
    return value;
}

// The number after `key` at the start of a line.
std::optional<std::uint64_t> field(std::string_view text, std::string_view key) {
    for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1))
        if (at == 0 || text[at - 1] == '\n') return leading_number(text.substr(at + key.size()));
    return std::nullopt;
}

std::uint64_t status_kib(std::string_view key) { return field(read_kernel_file("/proc/self/status"), key).value_or(0); }

}  // namespace

std::uint64_t resident_bytes() { return status_kib("VmRSS:") * 1024; }

std::uint64_t peak_resident_bytes() { return status_kib("VmHWM:") * 1024; }

std::uint64_t available_bytes() {
    std::uint64_t available = std::numeric_limits<std::uint64_t>::max();
    if (const auto kib = field(read_kernel_file("/proc/meminfo"), "MemAvailable:")) available = *kib * 1024;
    for (const std::string& folder : cgroup_folders()) {
        const auto limit = leading_number(read_kernel_file(folder + "/memory.max"));  // "max" where there is none
        const auto used = leading_number(read_kernel_file(folder + "/memory.current"));
        if (!limit || !used) continue;
        // File pages count as used, but the kernel takes them back when memory is asked for.
        const std::string statistics = read_kernel_file(folder + "/memory.stat");
        const std::uint64_t reclaimable =
            field(statistics, "inactive_file ").value_or(0) + field(statistics, "active_file ").value_or(0);
        const std::uint64_t held = *used - std::min(*used, reclaimable);
        available = std::min(available, *limit - std::min(*limit, held));
    }
    return available;
}

}  // namespace narae
