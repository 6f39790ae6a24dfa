// narae bench: prefill and decode speed, beside what the machine's memory can give.
#include "base/error.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/threads.h"
#include "bench/bandwidth.h"
#include "bench/speed.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/table.h"

#include <algorithm>
#include <map>

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    std::vector<int> prompt = {512}, generate = {128}, depth = {0}, threads = {0}, sequences = {1};
    int repetitions = 5;
    std::string format = "md";
    bool json = false;
};

struct Row {
    bench::SpeedResult speed;
    int threads = 0;
    double load_seconds = 0.0;
    std::uint64_t peak_bytes = 0, weight_bytes = 0, device_bytes = 0;
    int step_rows = 0;
    std::string backend;
    std::string device;
};

struct Subject {
    std::string name;
    Path path;
    std::uint64_t file_bytes = 0, parameters = 0;
    Json numerics;
};

std::vector<bench::SpeedTest> tests_of(const Options& o) {
    std::vector<bench::SpeedTest> tests;
    for (const int sequences : o.sequences) {
        for (const int depth : o.depth) {
            for (const int n : o.prompt)
                if (n > 0) tests.push_back({.prompt = n, .depth = depth, .sequences = sequences});
            for (const int n : o.generate)
                if (n > 0) tests.push_back({.generate = n, .depth = depth, .sequences = sequences});
        }
    }
    if (tests.empty()) throw_error<UsageError>("nothing to measure; give -p or -n a number above 0");
    return tests;
}

// Loads the model with so many threads and runs every test on it.
void measure(const Options& o, const std::vector<bench::SpeedTest>& tests, int threads, Subject& subject,
             std::vector<Row>& rows, std::map<int, bench::Bandwidth>& bandwidths) {
    LoadOptions load = load_options(o.model);
    load.backend.threads = threads;
    std::unique_ptr<kernels::Backend> device = kernels::open_backend(load.backend);
    const kernels::Limits limits = bench::limits_for(tests, o.model.batch_rows > 0 ? o.model.batch_rows : device->step_rows());
    load.context = limits.max_context;
    load.max_rows = limits.max_rows;
    load.max_sequences = limits.max_sequences;
    load.max_logit_rows = limits.max_logit_rows;

    SignalWatch signals;
    const auto go_on = [&] { return signals.caught() == 0; };
    Checkpoint checkpoint = open_checkpoint(subject.path);
    if (subject.parameters == 0) {
        subject.file_bytes = checkpoint.file_bytes;
        subject.parameters = summarize_model(checkpoint, *device, load).parameters;
    }
    device.reset();
    Model model = load_model(std::move(checkpoint), load);
    subject.numerics = model.numerics();
    ProgressBar bar("bench", tests.size(), "tests");
    for (const bench::SpeedTest& test : tests) {
        bench::SpeedResult speed = bench::measure_speed(model, test, o.repetitions, go_on);
        if (const int signal = signals.caught()) throw Interrupted(signal);
        rows.push_back({std::move(speed), threads, model.load_seconds, peak_resident_bytes(), model.plan.weights,
                        model.backend->device_used_bytes(), model.limits.max_rows, model.backend->description(),
                        std::string(model.backend->device())});
        bar.advance(1);
    }
    if (const double bytes = model.backend->measure_device_bandwidth(); bytes > 0.0)
        bandwidths[threads] = {.threads = 0, .bytes_per_second = bytes, .median_bytes_per_second = bytes};
}

double giga(double value) { return value / 1e9; }

Json row_json(const Subject& subject, const Row& row, const bench::Bandwidth& bandwidth) {
    const bench::SpeedResult& speed = row.speed;
    Json json = {{"model", subject.name},
                 {"path", subject.path.string()},
                 {"model_size", subject.file_bytes},
                 {"model_n_params", subject.parameters},
                 {"device", row.device},
                 {"backend", row.backend},
                 {"test", speed.test.name()},
                 {"n_prompt", speed.test.prompt},
                 {"n_gen", speed.test.generate},
                 {"n_depth", speed.test.depth},
                 {"n_sequences", speed.test.sequences},
                 {"n_threads", row.threads},
                 {"n_ubatch", row.step_rows},
                 {"samples_ts", speed.tokens_per_second},
                 {"samples_s", speed.seconds},
                 {"median_ts", speed.median_tokens_per_second()},
                 {"min_ts", *std::ranges::min_element(speed.tokens_per_second)},
                 {"max_ts", *std::ranges::max_element(speed.tokens_per_second)},
                 {"gb_per_second", giga(speed.median_bytes_per_second())},
                 {"bandwidth_gb_per_second", giga(bandwidth.bytes_per_second)},
                 {"bandwidth_share", speed.median_bytes_per_second() / bandwidth.bytes_per_second},
                 {"tflop_per_second", speed.median_operations_per_second() / 1e12},
                 {"load_ms", row.load_seconds * 1e3},
                 {"weights_bytes", row.weight_bytes},
                 {"kv_bytes", speed.kv_bytes},
                 {"peak_resident_bytes", row.peak_bytes},
                 {"device_bytes", row.device_bytes}};
    // A prompt without depth from nothing to its logits: what a user waits for, but for loading and sampling.
    if (speed.test.prompt > 0 && speed.test.depth == 0)
        json["first_token_ms"] = speed.test.tokens() / speed.median_tokens_per_second() * 1e3;
    return json;
}

std::string table_text(const Subject& subject, const std::vector<Row>& rows,
                       const std::map<int, bench::Bandwidth>& bandwidths) {
    Table table({{"model"},
                 {"size", Align::right},
                 {"params", Align::right},
                 {"backend"},
                 {"threads", Align::right},
                 {"test", Align::right},
                 {"t/s: median [min..max]", Align::right},
                 {"GB/s", Align::right},
                 {"of read bandwidth", Align::right},
                 {"TFLOP/s", Align::right}});
    for (const Row& row : rows) {
        const bench::SpeedResult& speed = row.speed;
        const auto [least, most] = std::ranges::minmax(speed.tokens_per_second);
        table.add(
            {subject.name, format_bytes(subject.file_bytes), count_text(subject.parameters), row.device,
             std::to_string(row.threads), speed.test.name(),
             fmt::format("{:.2f} [{:.2f}..{:.2f}]", speed.median_tokens_per_second(), least, most),
             fmt::format("{:.1f}", giga(speed.median_bytes_per_second())),
             fmt::format("{:.0f} %", 100.0 * speed.median_bytes_per_second() / bandwidths.at(row.threads).bytes_per_second),
             fmt::format("{:.3f}", speed.median_operations_per_second() / 1e12)});
    }
    return table.markdown();
}

std::string notes_text(const std::vector<Row>& rows, const std::map<int, bench::Bandwidth>& bandwidths) {
    std::string text;
    for (const auto& [threads, bandwidth] : bandwidths) {
        const auto with = [&](const Row& row) { return row.threads == threads; };
        const Row& last = *std::find_if(rows.rbegin(), rows.rend(), with);
        text += fmt::format("{}; read bandwidth {:.1f} GB/s; load {:.3f} s", last.backend, giga(bandwidth.bytes_per_second),
                            last.load_seconds);
        for (const Row& row : rows)
            if (with(row) && row.speed.test.prompt > 0 && row.speed.test.depth == 0 && row.speed.test.sequences == 1)
                text += fmt::format("; first token of {} after {:.3f} s", row.speed.test.name(),
                                    row.speed.test.tokens() / row.speed.median_tokens_per_second());
        text += fmt::format("; peak memory {}{} (weights {}, KV cache {})\n", format_bytes(last.peak_bytes),
                            last.device_bytes > 0 ? fmt::format(", of the card {}", format_bytes(last.device_bytes)) : "",
                            format_bytes(last.weight_bytes), format_bytes(static_cast<std::uint64_t>(last.speed.kv_bytes)));
    }
    return text;
}

void run(const Options& o) {
    const std::vector<bench::SpeedTest> tests = tests_of(o);
    std::vector<int> threads;
    for (const int count : o.threads) threads.push_back(count > 0 ? count : usable_processors());
    Subject subject;
    subject.path = resolve_model(o.model.model);
    subject.name = display_name(subject.path, o.model.model);
    std::vector<Row> rows;
    std::map<int, bench::Bandwidth> bandwidths;
    for (const int count : threads) measure(o, tests, count, subject, rows, bandwidths);
    // The machine's memory: after the tests, so that its buffer is not part of their peak memory.
    for (const int count : threads)
        if (!bandwidths.contains(count)) bandwidths.emplace(count, bench::measure_read_bandwidth(count));

    if (o.json || o.format == "json") {
        Json list = Json::array();
        for (const Row& row : rows) list.push_back(row_json(subject, row, bandwidths.at(row.threads)));
        print_output("{}\n",
                     dump_json({{"rows", list}, {"numerics", subject.numerics}, {"version", std::string(kVersion)}}, 2));
        return;
    }
    print_output("{}\n{}", table_text(subject, rows, bandwidths), notes_text(rows, bandwidths));
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("bench", "How fast a model runs on this machine");
    add_model_options(verb, o->model, true);
    for (const char* fixed : {"--threads", "--ctx-size", "--batch-size"}) verb.remove_option(verb.get_option(fixed));
    const auto list = [&](const char* name, std::vector<int>& values, const char* help, int least, int most) {
        verb.add_option(name, values, help)->delimiter(',')->allow_extra_args(false)->check(CLI::Range(least, most));
    };
    list("-p,--n-prompt", o->prompt, "Prompt tokens to compute (rows pp512); 0: none; a list: 128,512", 0, 1 << 20);
    list("-n,--n-gen", o->generate, "Tokens to generate (rows tg128); 0: none; a list", 0, 1 << 20);
    list("-d,--n-depth", o->depth, "Tokens that are in the context before; a list", 0, 1 << 20);
    list("-b,--batch-size,--sequences,--npl", o->sequences, "Sequences at once; a list: 1,8", 1, 1 << 12);
    list("-t,--threads", o->threads, "CPU threads; 0: all that this process may use; a list: 1,2", 0, 1024);
    verb.add_option("--ubatch-size,--step-rows", o->model.batch_rows,
                    "Tokens computed in one step; if not given, what keeps the device busy")
        ->check(CLI::Range(1, 1 << 16));
    verb.add_option("-r,--repetitions", o->repetitions, "Repetitions of each test, after one that is not timed")
        ->check(CLI::Range(1, 1000));
    verb.add_option("-o,--output", o->format, "md: a table; json")->check(CLI::IsMember({"md", "json"}));
    verb.add_flag("--json", o->json, "One JSON document with a row per test");
    verb.footer(
        "Random tokens; neither tokenizing nor sampling is timed (as in llama-bench). The memory's read bandwidth is measured "
        "in the same run:\n"
        "generating a token reads all weights, so it cannot be faster than that.\nExample:\n  narae bench default\n  narae "
        "bench default -p 512 -n 128 -t 1,2 -b 1,8");
    verb.callback([o] { run(*o); });
}

const Verb kBench = {"bench", add};
const RegisterVerb kRegister(kBench);

}  // namespace
}  // namespace narae::cli
