# Third-party libraries, all from the distribution's packages (tools/install_dependencies lists them by name).
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)

add_library(narae_third_party INTERFACE)
target_link_libraries(narae_third_party INTERFACE
    fmt::fmt nlohmann_json::nlohmann_json simdjson::simdjson CLI11::CLI11 PkgConfig::utf8proc PkgConfig::pcre2 Threads::Threads)
