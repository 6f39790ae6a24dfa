// narae doctor: what this machine can do, and what is missing.
#include "base/cgroup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/threads.h"
#include "bench/bandwidth.h"
#include "checkpoint/checkpoint.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "kernels/backend.h"

#include <sys/utsname.h>
#include <CLI/Version.hpp>

#include <array>
#include <memory>
#include <optional>

namespace narae::cli {
namespace {

struct Options {
    bool bandwidth = false, json = false;
};

// What speeds up the products of a model, as Linux names it in /proc/cpuinfo.
constexpr std::array<std::string_view, 9> kInstructions = {"f16c",        "fma",         "avx2",     "avx_vnni", "avx512f",
                                                           "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"};

struct Processor {
    std::string model = "unknown";
    std::vector<std::string> instructions;
};

// The value after "key :" of the first processor.
std::string cpuinfo_value(std::string_view text, std::string_view key) {
    std::size_t at = text.starts_with(key) ? 0 : text.find("\n" + std::string(key) + "\t");
    if (at == std::string_view::npos) return {};
    at = text.find(':', at);
    const std::size_t end = text.find('\n', at);
    if (at == std::string_view::npos || at + 2 > end) return {};
    return std::string(text.substr(at + 2, end == std::string_view::npos ? end : end - at - 2));
}

Processor processor() {
    const std::string text = read_kernel_file("/proc/cpuinfo");
    Processor result;
    if (const std::string model = cpuinfo_value(text, "model name"); !model.empty()) result.model = model;
    const std::string flags = " " + cpuinfo_value(text, "flags") + " ";
    for (const std::string_view name : kInstructions)
        if (flags.find(fmt::format(" {} ", name)) != std::string::npos) result.instructions.emplace_back(name);
    return result;
}

std::string system_name() {
    utsname name;
    return uname(&name) == 0 ? fmt::format("{} {} {}", name.sysname, name.release, name.machine) : "unknown";
}

struct DefaultModel {
    std::optional<CachedModel> found;
    std::string problem;
};

DefaultModel default_model() {
    DefaultModel result;
    try {
        const Path path = resolve_model("default");
        const Checkpoint checkpoint = open_checkpoint(path);
        result.found = CachedModel{"default", path, checkpoint.file_bytes};
    } catch (const Error& error) {
        result.problem = error.what();
    }
    return result;
}

Json versions() {
    return {{"narae", std::string(kVersion)},
            {"compiler", __VERSION__},
            {"fmt", FMT_VERSION},
            {"nlohmann_json",
             fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
            {"CLI11", CLI11_VERSION}};
}

Json findings(const Options& o) {
    const Processor cpu = processor();
    Json devices = Json::array();
    for (const kernels::DeviceInfo& device : kernels::devices())
        devices.push_back({{"name", device.name},
                           {"description", device.description},
                           {"usable", device.usable},
                           {"reason", device.usable ? Json() : Json(device.reason)},
                           {"instruction_sets", device.instruction_sets}});
    const DefaultModel model = default_model();
    Json result = {
        {"system", system_name()},
        {"processor", cpu.model},
        {"instructions", cpu.instructions},
        {"usable_processors", usable_processors()},
        {"available_bytes", available_bytes()},
        {"devices", devices},
        {"cache_folder", cache_folder().string()},
        {"default_model", model.found ? Json{{"path", model.found->path.string()}, {"bytes", model.found->bytes}} : Json()},
        {"default_model_problem", model.found ? Json() : Json(model.problem)}};
    if (o.bandwidth) {
        Json list = Json::array();
        for (int threads = 1; threads <= usable_processors(); threads *= 2) {
            const bench::Bandwidth bandwidth = bench::measure_read_bandwidth(threads);
            list.push_back({{"threads", threads}, {"gb_per_second", bandwidth.bytes_per_second / 1e9}});
        }
        result["read_bandwidth"] = list;
    }
    result["versions"] = versions();
    return result;
}

std::string joined(const Json& list) {
    std::string text;
    for (const Json& each : list) text += (text.empty() ? "" : ", ") + each.get<std::string>();
    return text.empty() ? "none" : text;
}

std::string findings_text(const Json& f) {
    Table table({{""}, {""}});
    table.add({"system", f["system"]});
    table.add({"processor", f["processor"]});
    table.add({"instructions", joined(f["instructions"])});
    table.add({"threads", fmt::format("{} usable", f["usable_processors"].get<int>())});
    table.add({"memory", format_bytes(f["available_bytes"].get<std::uint64_t>()) + " available"});
    for (const Json& device : f["devices"]) {
        std::string text = device["description"];
        if (!device["usable"].get<bool>()) text = "not usable: " + device["reason"].get<std::string>();
        if (!device["instruction_sets"].empty()) text += fmt::format(" (paths: {})", joined(device["instruction_sets"]));
        table.add({"device " + device["name"].get<std::string>(), text});
    }
    if (f.contains("read_bandwidth"))
        for (const Json& each : f["read_bandwidth"])
            table.add({"read bandwidth", fmt::format("{:.1f} GB/s with {} thread{}", each["gb_per_second"].get<double>(),
                                                     each["threads"].get<int>(), each["threads"] == 1 ? "" : "s")});
    table.add({"cache folder", f["cache_folder"]});
    const Json& model = f["default_model"];
    table.add({"default model", model.is_null() ? "missing: " + f["default_model_problem"].get<std::string>()
                                                : fmt::format("{} ({})", model["path"].get<std::string>(),
                                                              format_bytes(model["bytes"].get<std::uint64_t>()))});
    const Json& v = f["versions"];
    table.add(
        {"versions", fmt::format("narae {}, compiler {}", v["narae"].get<std::string>(), v["compiler"].get<std::string>())});
    return table.text(false);
}

void run(const Options& o) {
    const Json result = findings(o);
    write_output(o.json ? dump_json(result, 2) + "\n" : findings_text(result));
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("doctor", "What this machine can do");
    verb.add_flag("--bandwidth", o->bandwidth, "Also measure how fast memory is read (takes a second)");
    verb.add_flag("--json", o->json, "One JSON document");
    verb.footer("Example:\n  narae doctor --bandwidth");
    verb.callback([o] { run(*o); });
}

const Verb kDoctor = {"doctor", add};
const RegisterVerb kRegister(kDoctor);

}  // namespace
}  // namespace narae::cli
