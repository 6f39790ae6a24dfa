// Times tokenizers: loading, and encoding and decoding of 512 KiB and 1 MiB of texts that make pieces short or as long as the
// text. Prints medians of seven in milliseconds of the thread's own time, and how much more the double text costs.
//   bench_tokenizer FOLDER...        each with tokenizer.json and, if there is one, tokenizer_config.json
#include "text/tokenizer.h"
#include "base/error.h"
#include "base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <string>

namespace {

using namespace narae;

double thread_ms() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

template <class Work>
double median_ms(Work&& work) {
    std::array<double, 7> times;
    for (double& time : times) {
        const double begin = thread_ms();
        work();
        time = thread_ms() - begin;
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

std::string repeated(std::string_view unit, std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += unit;
    return text;
}

void time_tokenizer(const Path& folder) {
    const std::string json = read_text_file(folder / "tokenizer.json");
    const Path config_path = folder / "tokenizer_config.json";
    const std::string config = file_system().is_file(config_path) ? read_text_file(config_path) : std::string();
    const auto load = [&] { return Tokenizer::from_json(json, config, folder.string()); };
    const Tokenizer tokenizer = load();
    fmt::print("{}: load {:.1f} ms\n", folder.string(), median_ms([&] { load(); }));
    fmt::print("  {:<22} {:>10} {:>10} {:>7} {:>10} {:>10}\n", "text", "512 KiB", "1 MiB", "ratio", "ids", "decode");
    for (const std::string_view unit :
         {"a", "가", "^", " ", "😀", "\n", "Hello world, ", "가나다라 마바사 ", "x = f(1, 23)\n"}) {
        const std::string half = repeated(unit, std::size_t{1} << 19), whole = repeated(unit, std::size_t{1} << 20);
        const double half_ms = median_ms([&] { tokenizer.encode(half); });
        const double whole_ms = median_ms([&] { tokenizer.encode(whole); });
        const std::vector<std::int32_t> ids = tokenizer.encode(whole);
        const double decode_ms = median_ms([&] { tokenizer.decode(ids); });
        const std::string shown = unit == "\n"  ? "newline"
                                  : unit == " " ? "space"
                                                : std::string(unit.substr(0, unit.find('\n')));
        fmt::print("  {:<22} {:>10.1f} {:>10.1f} {:>7.2f} {:>10} {:>10.1f}\n", shown, half_ms, whole_ms, whole_ms / half_ms,
                   ids.size(), decode_ms);
    }
}

}  // namespace

int main(int count, char** arguments) {
    try {
        for (int i = 1; i < count; ++i) time_tokenizer(arguments[i]);
    } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        return static_cast<int>(error.code());
    }
    return 0;
}
