// Runs the cases of tests/cli/cases, each as a test of its own.
#include "case_file.h"

#include "base/json.h"
#include "support/support.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

namespace narae::test {
namespace {

std::string unescape(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            out += text[i];
            continue;
        }
        const char next = text[++i];
        if (next == 'n') {
            out += '\n';
        } else if (next == 't') {
            out += '\t';
        } else if (next == 'x') {
            out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            out += next;
        }
    }
    return out;
}

std::string file_text(const Path& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

Check parse_check(const std::string& line, const std::string& where) {
    static const std::regex shape(R"((stdout|stderr|files|json (\S*)) (=|!=|~|!~)(?: (.*))?)");
    std::smatch match;
    if (!std::regex_match(line, match, shape)) throw std::runtime_error(where + ": no check: " + line);
    Check check;
    check.subject = match[1].str().substr(0, match[1].str().find(' '));
    check.pointer = match[2];
    check.relation = match[3];
    check.value = match[4];
    return check;
}

void read_file(const Path& path, std::vector<Case>& cases) {
    std::ifstream in(path);
    std::string line;
    for (int number = 1; std::getline(in, line); ++number) {
        if (line.empty() || line.starts_with("#")) continue;
        const std::string where = fmt::format("{}:{}", path.string(), number);
        const auto field = [&](std::string_view name) {
            return line.starts_with(name) ? std::optional(line.substr(name.size())) : std::nullopt;
        };
        if (const auto title = field("case: ")) {
            cases.push_back({path.stem().string(), *title, "", "", 0, {}});
            continue;
        }
        if (cases.empty()) throw std::runtime_error(where + ": before the first case");
        Case& now = cases.back();
        if (const auto command = field("run: ")) {
            now.command += (now.command.empty() ? "" : "\n") + *command;
        } else if (const auto input = field("stdin: ")) {
            now.input = unescape(*input);
        } else if (const auto code = field("exit: ")) {
            now.exit_code = std::stoi(*code);
        } else {
            now.checks.push_back(parse_check(line, where));
        }
    }
}

struct Outcome {
    int exit_code = -1;
    std::string standard_output, standard_error, files;
};

Outcome run_case(const Case& test) {
    const ScratchFolder scratch;
    const Path folder = scratch.path() / "here";
    std::filesystem::create_directories(folder);
    scratch.write("input", test.input);
    const auto variable = [](const char* name, const Path& value) { return fmt::format("{}='{}'\n", name, value.string()); };
    const Path script = scratch.write("script", variable("narae", NARAE_PROGRAM) + variable("models", data_file("models")) +
                                                    variable("goldens", data_file("goldens")) +
                                                    variable("default", default_model()) + test.command + "\n");
    const std::string command = fmt::format("cd '{}' && exec /bin/sh '{}' < '{}' > '{}' 2> '{}'", folder.string(),
                                            script.string(), (scratch.path() / "input").string(),
                                            (scratch.path() / "output").string(), (scratch.path() / "error").string());
    Outcome outcome;
    const int status = std::system(command.c_str());
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.standard_output = file_text(scratch.path() / "output");
    outcome.standard_error = file_text(scratch.path() / "error");
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    outcome.files = fmt::format("{}", fmt::join(names, " "));
    return outcome;
}

void check_json(const Check& check, const std::string& text) {
    const Json document = Json::parse(text, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << "standard output is no JSON document:\n" << text;
    const Json::json_pointer pointer(check.pointer);
    ASSERT_TRUE(document.contains(pointer)) << check.pointer << " is missing in\n" << text;
    const Json expected = Json::parse(check.value);
    if (check.relation == "=")
        EXPECT_EQ(document.at(pointer), expected) << check.pointer;
    else
        EXPECT_NE(document.at(pointer), expected) << check.pointer;
}

void check_text(const Check& check, const std::string& text) {
    if (check.relation == "=") {
        EXPECT_EQ(text, check.subject == "files" ? check.value : unescape(check.value)) << check.subject;
        return;
    }
    const bool found = std::regex_search(text, std::regex(check.value));
    EXPECT_EQ(found, check.relation == "~") << check.subject << " " << check.relation << " " << check.value << "\nis\n" << text;
}

class CommandLine : public testing::TestWithParam<Case> {};

TEST_P(CommandLine, Behaves) {
    const Case& test = GetParam();
    ASSERT_FALSE(test.command.empty()) << "a case without a run line";
    const Outcome outcome = run_case(test);
    EXPECT_EQ(outcome.exit_code, test.exit_code) << test.command << "\nstderr:\n"
                                                 << outcome.standard_error << "stdout:\n"
                                                 << outcome.standard_output;
    for (const Check& check : test.checks) {
        if (check.subject == "json")
            check_json(check, outcome.standard_output);
        else
            check_text(check, check.subject == "stdout"   ? outcome.standard_output
                              : check.subject == "stderr" ? outcome.standard_error
                                                          : outcome.files);
    }
}

std::string test_name(const testing::TestParamInfo<Case>& info) {
    std::string name = info.param.file + "_" + info.param.title;
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, CommandLine, testing::ValuesIn(read_cases()), test_name);

}  // namespace

void PrintTo(const Case& test, std::ostream* out) { *out << test.command; }

std::vector<Case> read_cases() {
    std::vector<Case> cases;
    std::vector<Path> files;
    for (const auto& entry : std::filesystem::directory_iterator(Path(NARAE_TEST_FOLDER) / "cli" / "cases"))
        files.push_back(entry.path());
    std::ranges::sort(files);
    for (const Path& file : files) read_file(file, cases);
    if (cases.empty()) throw std::runtime_error("no cases in tests/cli/cases");
    return cases;
}

}  // namespace narae::test
