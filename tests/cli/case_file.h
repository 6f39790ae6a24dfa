// Behaviour of the program as text: files in tests/cli/cases. A case begins with its title and ends before the next:
//   case: an unknown verb names the nearest
//   run: $narae tokenise x
//   exit: 2
//   stderr ~ did you mean tokenize\?
// `run` is a line for /bin/sh; $narae is the program, $models and $goldens are folders of tests/data, $default is the default
// model's file, and the current folder is an empty one of the case's own. `stdin: TEXT` is what it reads (escapes \n \t \xNN).
// Checks, each may be repeated:
//   exit: N                       the exit code; 0 when there is no such line
//   stdout = TEXT                 all of standard output (escapes)
//   stdout ~ REGEX, stderr ~ ...  somewhere (ECMAScript); stdout !~ REGEX: nowhere
//   json /POINTER = JSON          a member of the JSON document on standard output; != for anything else
//   files = a b                   what the folder holds afterwards, sorted
// Lines that begin with # are comments.
#pragma once

#include "base/file.h"

#include <iosfwd>
#include <string>
#include <vector>

namespace narae::test {

struct Check {
    std::string subject;   // "stdout", "stderr", "json", "files"
    std::string relation;  // "=", "!=", "~", "!~"
    std::string pointer;   // of json
    std::string value;
};

struct Case {
    std::string file, title, command, input;
    int exit_code = 0;
    std::vector<Check> checks;
};

void PrintTo(const Case& test, std::ostream* out);  // for GoogleTest

// All cases of tests/cli/cases. Throws with file and line what it cannot read.
std::vector<Case> read_cases();

}  // namespace narae::test
