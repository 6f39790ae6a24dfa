#include "base/error.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "cli/verb.h"
#include "text/unicode.h"

#include <algorithm>
#include <csignal>
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
    write_log("narae: ", message);
    return static_cast<int>(code);
}

void check_arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (!unicode::is_valid(argument))
            throw_error<UsageError>("argument {} is not valid UTF-8 at byte {}; set the terminal to UTF-8", i,
                                    unicode::valid_prefix(argument));
    }
}

void add_option_names(const CLI::App& app, std::vector<std::string>& names) {
    for (const CLI::Option* option : app.get_options())
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
}

// CLI11's sentence for what cannot be parsed, with the name that was probably meant and where to read on.
std::string advice(CLI::App& app, const CLI::ParseError& error) {
    // The verb, and below it the subject where it has several.
    std::vector<CLI::App*> chosen;
    std::string path = "narae";
    for (CLI::App* at = &app; !at->get_subcommands().empty(); path += " " + at->get_name()) {
        at = at->get_subcommands().back();
        chosen.push_back(at);
    }
    const std::string help = path + " --help";
    const auto unknown = [&](std::string_view kind, const std::string& word, const std::vector<std::string>& names) {
        const std::string closest = closest_name(word, names);
        if (closest.empty()) return fmt::format("unknown {} {}; see {}", kind, word, help);
        return fmt::format("unknown {} {}; did you mean {}? See {}", kind, word, closest, help);
    };
    const std::vector<std::string> rest = app.remaining(true);
    const bool is_flag = !rest.empty() && rest.front().starts_with("-");
    if (is_flag) {
        std::vector<std::string> names;
        if (!chosen.empty()) add_option_names(*chosen.back(), names);
        add_option_names(app, names);
        return unknown("option", rest.front().substr(0, rest.front().find('=')), names);
    }
    if (!rest.empty() && chosen.empty()) {
        std::vector<std::string> names;
        for (const Verb* verb : all_verbs()) names.emplace_back(verb->name);
        return unknown("verb", rest.front(), names);
    }
    std::vector<std::string> subjects;
    if (!chosen.empty())
        for (const CLI::App* subject : chosen.back()->get_subcommands([](const CLI::App*) { return true; }))
            subjects.push_back(subject->get_name());
    if (!rest.empty() && !subjects.empty()) return unknown(chosen.back()->get_name() + " subject", rest.front(), subjects);
    if (!rest.empty()) return fmt::format("unexpected argument {}; see {}", rest.front(), help);
    if (chosen.empty()) return fmt::format("no verb given; see {}", help);
    if (!subjects.empty())
        return fmt::format("{} needs a subject: {}; see {}", chosen.back()->get_name(), fmt::join(subjects, ", "), help);
    return fmt::format("{}: {}; see {}", chosen.back()->get_name(), error.what(), help);
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
    app.fallthrough();  // -q and -v also after the verb; subcommands inherit it
    app.set_version_flag("--version", fmt::format("narae {}", kVersion));
    app.add_flag_callback(
        "-q,--quiet", [] { set_log_level(LogLevel::quiet); }, "Nothing on stderr but errors");
    app.add_flag_callback(
        "-v,--verbose", [] { set_log_level(LogLevel::verbose); }, "More on stderr");
    for (const Verb* verb : all_verbs()) verb->add(app);

    try {
        check_arguments(argc, argv);
        try {
            app.parse(argc, argv);
        } catch (const CLI::CallForHelp&) {
            write_output(app.help());
        } catch (const CLI::CallForVersion& version) {
            print_output("{}\n", version.what());
        } catch (const CLI::ParseError& error) {
            return report(ExitCode::usage, advice(app, error));
        }
        flush_output();
        return 0;
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
