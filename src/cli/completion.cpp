// narae completion: a shell's completion script, written from the same tree of verbs and options that parses the command line.
#include "base/error.h"
#include "cli/output.h"
#include "cli/verb.h"

#include <algorithm>
#include <memory>

namespace narae::cli {
namespace {

struct Choice {
    std::string name, help;
};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::vector<const CLI::App*> children_of(const CLI::App& app) {
    return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<Choice> verbs_of(const CLI::App& app) {
    std::vector<Choice> verbs;
    for (const CLI::App* verb : children_of(app)) verbs.push_back({verb->get_name(), first_line(verb->get_description())});
    return verbs;
}

std::vector<Choice> options_of(const CLI::App& app) {
    std::vector<Choice> options;
    for (const CLI::Option* option : app.get_options()) {
        for (const std::string& name : option->get_lnames())
            options.push_back({"--" + name, first_line(option->get_description())});
        for (const std::string& name : option->get_snames())
            options.push_back({"-" + name, first_line(option->get_description())});
    }
    return options;
}

std::string words(const std::vector<Choice>& choices) {
    std::string text;
    for (const Choice& choice : choices) text += (text.empty() ? "" : " ") + choice.name;
    return text;
}

// For text between single quotes; fish and zsh's _describe give the colon no meaning after the first once it is escaped.
std::string escaped(std::string_view text, std::string_view special) {
    std::string out;
    for (const char c : text) {
        if (c == '\'') {
            out += "'\\''";
            continue;
        }
        if (special.find(c) != std::string_view::npos) out += '\\';
        out += c;
    }
    return out;
}

std::string bash_script(const CLI::App& app) {
    // A verb of several subjects is completed with their names first: "eval", then "eval ppl".
    std::string cases, groups;
    for (const CLI::App* verb : children_of(app)) {
        const std::vector<const CLI::App*> subjects = children_of(*verb);
        const std::string names = subjects.empty() ? "" : words(verbs_of(*verb)) + " ";
        cases += fmt::format("        '{}') words='{}{}' ;;\n", verb->get_name(), names, words(options_of(*verb)));
        for (const CLI::App* subject : subjects)
            cases += fmt::format("        '{} {}') words='{}' ;;\n", verb->get_name(), subject->get_name(),
                                 words(options_of(*subject)));
        if (!subjects.empty()) groups += fmt::format("|{}", verb->get_name());
    }
    return fmt::format(R"(_narae() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" verb='' word words group=1
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word == -* ]] && continue
        verb="${{verb:+$verb }}$word"
        case "$verb" in ''{}) ;; *) group=0; break ;; esac
    done
    case "$verb" in
        '') words='{} {}' ;;
{}    esac
    if [[ $group == 1 || $current == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    else
        compopt -o default 2>/dev/null
    fi
}}
complete -F _narae narae
)",
                       groups, words(verbs_of(app)), words(options_of(app)), cases);
}

std::string zsh_script(const CLI::App& app) {
    const auto described = [](const std::vector<Choice>& choices) {
        std::string text;
        for (const Choice& choice : choices) text += fmt::format(" '{}:{}'", choice.name, escaped(choice.help, ":\\"));
        return text;
    };
    std::string cases;
    std::string groups;
    for (const CLI::App* verb : children_of(app)) {
        cases += fmt::format("        '{}') choices=({}{}) ;;\n", verb->get_name(), described(verbs_of(*verb)),
                             described(options_of(*verb)));
        for (const CLI::App* subject : children_of(*verb))
            cases += fmt::format("        '{} {}') choices=({}) ;;\n", verb->get_name(), subject->get_name(),
                                 described(options_of(*subject)));
        if (!children_of(*verb).empty()) groups += fmt::format("|{}", verb->get_name());
    }
    return fmt::format(R"(#compdef narae
_narae() {{
    local -a choices
    local verb='' word group=1
    for word in ${{words[2,CURRENT-1]}}; do
        [[ $word == -* ]] && continue
        verb="${{verb:+$verb }}$word"
        case "$verb" in ''{}) ;; *) group=0; break ;; esac
    done
    case "$verb" in
        '') choices=({}{}) ;;
{}    esac
    if [[ $group == 1 || $PREFIX == -* ]]; then
        _describe narae choices
    else
        _files
    fi
}}
compdef _narae narae
)",
                       groups, described(verbs_of(app)), described(options_of(app)), cases);
}

std::string fish_script(const CLI::App& app) {
    std::string script;
    for (const Choice& verb : verbs_of(app))
        script +=
            fmt::format("complete -c narae -n __fish_use_subcommand -f -a {} -d '{}'\n", verb.name, escaped(verb.help, "\\"));
    const auto options = [&](const CLI::App& owner, const std::string& condition) {
        for (const CLI::Option* option : owner.get_options()) {
            std::string names;
            for (const std::string& name : option->get_snames()) names += " -s " + name;
            for (const std::string& name : option->get_lnames()) names += " -l " + name;
            if (names.empty()) continue;
            const bool takes_value = option->get_items_expected_max() > 0;
            script += fmt::format("complete -c narae{}{}{} -d '{}'\n", condition, names, takes_value ? " -r" : "",
                                  escaped(first_line(option->get_description()), "\\"));
        }
    };
    options(app, "");
    for (const CLI::App* verb : children_of(app)) {
        options(*verb, fmt::format(" -n '__fish_seen_subcommand_from {}'", verb->get_name()));
        for (const CLI::App* subject : children_of(*verb)) {
            script += fmt::format("complete -c narae -n '__fish_seen_subcommand_from {}' -f -a {} -d '{}'\n", verb->get_name(),
                                  subject->get_name(), escaped(first_line(subject->get_description()), "\\"));
            options(*subject, fmt::format(" -n '__fish_seen_subcommand_from {}'", subject->get_name()));
        }
    }
    return script;
}

void add(CLI::App& app) {
    auto shell = std::make_shared<std::string>();
    CLI::App& verb = *app.add_subcommand("completion", "A script that completes narae's verbs and options in a shell");
    verb.add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
    verb.footer("Example:\n  source <(narae completion bash)\n  narae completion fish > ~/.config/fish/completions/narae.fish");
    verb.callback([&app, shell] {
        write_output(*shell == "bash" ? bash_script(app) : *shell == "zsh" ? zsh_script(app) : fish_script(app));
    });
}

const Verb kCompletion = {"completion", add};
const RegisterVerb kRegister(kCompletion);

}  // namespace
}  // namespace narae::cli
