// The command line: one file per verb, registered by a RegisterVerb object. A verb's function adds a CLI11 subcommand with its
// options, an example in its footer and a callback that does the work and throws narae::Error. run() is the one place where
// errors become a sentence on stderr and an exit code.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <string_view>
#include <vector>

namespace narae::cli {

inline constexpr std::string_view kVersion = "0.1.0";

struct Verb {
    std::string_view name;
    void (*add)(CLI::App& app) = nullptr;
};
std::vector<const Verb*> all_verbs();  // sorted by name
struct RegisterVerb {
    explicit RegisterVerb(const Verb& verb);
};

// The whole program: parses, runs the verb, returns the exit code of the contract.
int run(int argc, char** argv);

}  // namespace narae::cli
