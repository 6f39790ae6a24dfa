#include "base/error.h"
#include "base/file.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>

namespace narae {
namespace {

// The mapped ranges, for the signal handler: no locks, no allocation. A slot is free, then being filled (end 0, which
// matches no address), then in use. The name belongs to the MappedFile.
struct MappedRange {
    std::atomic<bool> taken{false};
    std::atomic<std::uintptr_t> begin{0}, end{0};
    std::atomic<const char*> name{nullptr};
};
std::array<MappedRange, 1024> g_ranges;
static_assert(std::atomic<const char*>::is_always_lock_free && std::atomic<std::uintptr_t>::is_always_lock_free);

struct sigaction g_previous_action;

void say(const char* text) {
    // Nothing can be done about a closed stderr here.
    [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
}

void on_bus_error(int signal_number, siginfo_t* info, void* context) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (const MappedRange& range : g_ranges) {
        if (address >= range.begin.load() && address < range.end.load()) {
            say("narae: ");
            say(range.name.load());
            say(": the file became shorter while it was in use\n");
            _exit(static_cast<int>(ExitCode::io));
        }
    }
    // Not ours: as if this handler were not there.
    if (g_previous_action.sa_flags & SA_SIGINFO) {
        g_previous_action.sa_sigaction(signal_number, info, context);
    } else {
        sigaction(SIGBUS, &g_previous_action, nullptr);  // the faulting instruction runs again
    }
}

void install_handler() {
    static const bool installed = [] {
        struct sigaction action {};
        action.sa_sigaction = on_bus_error;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        return sigaction(SIGBUS, &action, &g_previous_action) == 0;
    }();
    NARAE_CHECK(installed, "sigaction");
}

// The slot's index, or -1 when all are taken: then a shrunk file is an ordinary SIGBUS.
int register_range(std::span<const std::byte> bytes, const char* name) {
    for (std::size_t i = 0; i < g_ranges.size(); ++i) {
        MappedRange& range = g_ranges[i];
        if (range.taken.load(std::memory_order_relaxed) || range.taken.exchange(true)) continue;
        const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
        range.name = name;
        range.begin = begin;
        range.end = begin + bytes.size();
        return static_cast<int>(i);
    }
    return -1;
}

void unregister_range(int slot) {
    MappedRange& range = g_ranges[static_cast<std::size_t>(slot)];
    range.end = 0;
    range.taken = false;
}

struct PageRange {
    void* begin;
    std::size_t bytes;
};

// The pages that lie whole inside the part, or those that it touches.
PageRange pages_of(std::span<const std::byte> part, bool whole) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    auto begin = reinterpret_cast<std::uintptr_t>(part.data());
    auto end = begin + part.size();
    begin = whole ? (begin + page - 1) / page * page : begin / page * page;
    if (whole) end = end / page * page;
    return {reinterpret_cast<void*>(begin), end > begin ? end - begin : 0};
}

}  // namespace

MappedFile::MappedFile(const Path& path) : path_(path), file_(file_system().open(path)), bytes_(file_->map()) {
    if (bytes_.empty()) return;
    install_handler();
    bus_slot_ = register_range(bytes_, path_.c_str());
}

MappedFile::~MappedFile() {
    if (bus_slot_ >= 0) unregister_range(bus_slot_);
}

void MappedFile::release_pages(std::span<const std::byte> part) const noexcept {
    const PageRange pages = pages_of(part, true);
    if (pages.bytes) madvise(pages.begin, pages.bytes, MADV_DONTNEED);
}

void MappedFile::prefetch(std::span<const std::byte> part) const noexcept {
    const PageRange pages = pages_of(part, false);
    if (pages.bytes) madvise(pages.begin, pages.bytes, MADV_WILLNEED);
}

}  // namespace narae
