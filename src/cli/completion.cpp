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

std::vector<Choice> verbs_of(const CLI::App& app) {
    std::vector<Choice> verbs;
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        verbs.push_back({verb->get_name(), first_line(verb->get_description())});
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
    std::string cases;
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        cases += fmt::format("        {}) words='{}' ;;\n", verb->get_name(), words(options_of(*verb)));
    return fmt::format(R"(_narae() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" verb='' word words
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word == -* ]] || {{ verb="$word"; break; }}
    done
    case "$verb" in
        '') words='{} {}' ;;
{}    esac
    if [[ -z $verb || $current == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    else
        compopt -o default 2>/dev/null
    fi
}}
complete -F _narae narae
)",
                       words(verbs_of(app)), words(options_of(app)), cases);
}

std::string zsh_script(const CLI::App& app) {
    const auto described = [](const std::vector<Choice>& choices) {
        std::string text;
        for (const Choice& choice : choices) text += fmt::format(" '{}:{}'", choice.name, escaped(choice.help, ":\\"));
        return text;
    };
    std::string cases;
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        cases += fmt::format("        {}) choices=({}) ;;\n", verb->get_name(), described(options_of(*verb)));
    return fmt::format(R"(#compdef narae
_narae() {{
    local -a choices
    local verb=${{${{words[2,CURRENT-1]}}[(r)[^-]*]}}
    case "$verb" in
        '') choices=({}{}) ;;
{}    esac
    if [[ -z $verb || $PREFIX == -* ]]; then
        _describe narae choices
    else
        _files
    fi
}}
compdef _narae narae
)",
                       described(verbs_of(app)), described(options_of(app)), cases);
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
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        options(*verb, fmt::format(" -n '__fish_seen_subcommand_from {}'", verb->get_name()));
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
