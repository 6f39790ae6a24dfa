// Errors of everything that a user, a file or a machine can do wrong. Thrown where the fault is known; caught at
// three places only: a verb's main, a request's handler, an engine step. A message is one sentence:
//   what: which thing, found X, need Y; try Z
// Faults of our own code are NARAE_CHECKs that print the values.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace narae {

// The process exit codes of the command-line contract.
enum class ExitCode { ok = 0, usage = 2, resources = 3, bad_file = 4, internal = 70, io = 74 };

class Error : public std::runtime_error {
public:
    Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ExitCode code() const { return code_; }

private:
    ExitCode code_;
};

// The caller asked for something that cannot be: a wrong flag, an id out of range, a request that cannot fit.
struct UsageError : Error {
    explicit UsageError(const std::string& message) : Error(ExitCode::usage, message) {}
};
// Not enough memory, no driver, no card, a missing capability.
struct ResourceError : Error {
    explicit ResourceError(const std::string& message) : Error(ExitCode::resources, message) {}
};
// A file that is damaged, truncated when opened, or of a kind that is not supported.
struct BadFileError : Error {
    explicit BadFileError(const std::string& message) : Error(ExitCode::bad_file, message) {}
};
// A broken promise of this program, or a device that failed in use.
struct InternalError : Error {
    explicit InternalError(const std::string& message) : Error(ExitCode::internal, message) {}
};
// Not found, unreadable, shrunk after it was opened, disk full, closed output.
struct IoError : Error {
    explicit IoError(const std::string& message) : Error(ExitCode::io, message) {}
};

// throw_error<BadFileError>("{}: tensor {} ends at {}, after the file's {} bytes", path, name, end, size)
template <class E, class... Args>
[[noreturn]] void throw_error(fmt::format_string<Args...> text, Args&&... args) {
    throw E(fmt::format(text, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& values);

}  // namespace narae

// A programmer's promise; stays on in release. NARAE_CHECK(a == b, "a {} b {}", a, b)
#define NARAE_CHECK(condition, ...)                                                            \
    do {                                                                                       \
        if (!(condition)) [[unlikely]]                                                         \
            ::narae::check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
    } while (false)
