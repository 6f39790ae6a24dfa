#include "base/error.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/verb.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>

namespace narae::cli {
namespace {

std::vector<const Verb*>& registry() {
    static std::vector<const Verb*> verbs;
    return verbs;
}

constexpr const char* kIntroduction =
    "narae makes a language model light and puts it to work.\n"
    "MODEL is a folder in Hugging Face form, a .gguf file, org/name in the Hugging Face cache, or `default`.";
constexpr const char* kClosing =
    "First steps:\n"
    "  narae chat default\n"
    "  narae info default\n"
    "  narae VERB --help";

int report(ExitCode code, const std::string& message) {
    fmt::print(stderr, "narae: {}\n", message);
    return static_cast<int>(code);
}

}  // namespace

std::vector<const Verb*> all_verbs() {
    std::vector<const Verb*> verbs = registry();
    std::sort(verbs.begin(), verbs.end(), [](const Verb* a, const Verb* b) { return a->name < b->name; });
    return verbs;
}

RegisterVerb::RegisterVerb(const Verb& verb) { registry().push_back(&verb); }

int run(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a closed stdout is a failed write, exit code 74
    CLI::App app{kIntroduction, "narae"};
    app.footer(kClosing);
    app.require_subcommand(1);
    app.set_version_flag("--version", "narae 0.1.0");
    app.add_flag_callback("-q,--quiet", [] { set_log_level(LogLevel::quiet); }, "Nothing on stderr but errors");
    app.add_flag_callback("-v,--verbose", [] { set_log_level(LogLevel::verbose); }, "More on stderr");
    for (const Verb* verb : all_verbs()) verb->add(app);
    app.fallthrough();

    try {
        app.parse(argc, argv);
        flush_output();
        return 0;
    } catch (const CLI::CallForHelp& help) {
        app.exit(help);
        return 0;
    } catch (const CLI::CallForVersion& version) {
        app.exit(version);
        return 0;
    } catch (const CLI::ParseError& error) {
        return report(ExitCode::usage, fmt::format("{}; try narae --help, or narae VERB --help", error.what()));
    } catch (const Interrupted& interrupted) {
        return interrupted.exit_code();
    } catch (const Error& error) {
        return report(error.code(), error.what());
    } catch (const std::bad_alloc&) {
        return report(ExitCode::resources, "out of memory; close other programs, or use a smaller model or context");
    } catch (const std::exception& error) {
        return report(ExitCode::internal, fmt::format("unexpected: {}; this is a defect of narae", error.what()));
    }
}

}  // namespace narae::cli
