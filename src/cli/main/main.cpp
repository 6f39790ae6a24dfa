#include "cli/verb.h"

int main(int argc, char** argv) { return narae::cli::run(argc, argv); }
