#include "cli/model_options.h"

#include "base/error.h"
#include "base/log.h"
#include "text/unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iostream>
#include <iterator>
#include <limits>
#include <random>

namespace narae::cli {

void add_model_options(CLI::App& verb, ModelOptions& o, bool running) {
    verb.add_option("model", o.model, "Folder, .gguf file, org/name in the Hugging Face cache, or `default`")->required();
    if (!running) return;
    verb.add_option("--device", o.device, "cpu, cuda, cuda:N, or auto: cuda if there is one")->envname("NARAE_DEVICE");
    verb.add_option("-t,--threads", o.threads, "CPU threads; 0: all that this process may use")
        ->check(CLI::Range(0, 1024))
        ->envname("NARAE_THREADS");
    verb.add_option("--instruction-set", o.instruction_set, "Use this CPU path instead of the best: generic, avx2, avx512");
    verb.add_option("--activations", o.activations, "auto, f32 (exact products), or int8")
        ->check(CLI::IsMember({"auto", "f32", "int8"}));
    verb.add_option("--kv-type,--kv-cache-dtype", o.kv_type, "Keys and values: f32, f16, bf16")
        ->check(CLI::IsMember({"f32", "f16", "bf16"}));
    verb.add_option("--kv-max", o.kv_max, "Most memory for keys and values: 512M, 4G; 0: as many as the sequences may need")
        ->transform(CLI::AsSizeValue(false));
    verb.add_option("-c,--ctx-size,--max-model-len", o.context, "Tokens of one sequence; 0: the model's own, at most 4096")
        ->check(CLI::Range(0, 1 << 24));
    verb.add_option("-b,--batch-size", o.batch_rows, "Prompt tokens computed in one step; 0: what keeps the device busy")
        ->check(CLI::Range(0, 1 << 16));
}

kernels::BackendOptions backend_options(const ModelOptions& o) { return {o.device, o.threads, o.instruction_set}; }

std::string_view kv_type_name(kernels::KvType type) {
    switch (type) {
        case kernels::KvType::f32:
            return "f32";
        case kernels::KvType::f16:
            return "f16";
        case kernels::KvType::bf16:
            return "bf16";
    }
    return "";
}

std::string display_name(const Path& path, const std::string& asked) {
    const std::string name = path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
    return path.parent_path().filename() == "snapshots" || name.empty() ? asked : name;
}

LoadOptions load_options(const ModelOptions& o) {
    LoadOptions options;
    options.backend = backend_options(o);
    if (o.activations == "f32") options.activations = kernels::Activations::f32;
    if (o.activations == "int8") options.activations = kernels::Activations::int8;
    for (const kernels::KvType type : {kernels::KvType::f32, kernels::KvType::f16, kernels::KvType::bf16})
        if (o.kv_type == kv_type_name(type)) options.kv_type = type;
    options.context = o.context;
    options.max_rows = o.batch_rows;
    options.kv_bytes = static_cast<std::int64_t>(std::min(o.kv_max, std::uint64_t{std::numeric_limits<std::int64_t>::max()}));
    return options;
}

void add_sampling_options(CLI::App& verb, SamplingOptions& o) {
    verb.add_option("--temp,--temperature", o.temperature, "0: always the most likely token");
    verb.add_option("--top-k", o.top_k, "Only the k most likely tokens; 0: off");
    verb.add_option("--top-p", o.top_p, "Only the most likely tokens that sum to p; 1: off");
    verb.add_option("--min-p", o.min_p, "Only tokens at least p times as likely as the best; 0: off");
    verb.add_option("--typical", o.typical_p, "Locally typical sampling; 1: off");
    verb.add_option("--repeat-penalty", o.repeat_penalty, "Over 1: less likely to say what was said");
    verb.add_option("--presence-penalty", o.presence_penalty, "Subtracted from tokens already in the answer");
    verb.add_option("--frequency-penalty", o.frequency_penalty, "Subtracted once per time a token is in the answer");
    verb.add_option("--logit-bias", o.logit_bias, "ID+2.5 or ID-100, added to a token's logit; may be repeated")
        ->allow_extra_args(false);
    verb.add_option("-s,--seed", o.seed, "Same seed, same text");
}

namespace {

// "15043+1.5" or "15043-100": an id, then a signed number.
std::pair<std::int32_t, float> parse_bias(const std::string& text) {
    const char* const end = text.data() + text.size();
    std::int32_t id = 0;
    float bias = 0.0f;
    const auto [sign, id_error] = std::from_chars(text.data(), end, id);
    const bool signed_number = id_error == std::errc{} && sign != end && (*sign == '+' || *sign == '-');
    const auto [rest, bias_error] = std::from_chars(signed_number && *sign == '+' ? sign + 1 : sign, end, bias);
    if (!signed_number || bias_error != std::errc{} || rest != end)
        throw_error<UsageError>("--logit-bias {}: need ID+NUMBER or ID-NUMBER, as in 15043+1.5", text);
    return {id, bias};
}

}  // namespace

kernels::SamplingParameters sampling_parameters(const SamplingOptions& o, const Json& config) {
    const std::string what = "generation_config.json";
    const Json none = Json::object();
    const Json& g = config.is_object() ? config : none;
    const auto number = [&](const std::optional<float>& flag, std::string_view key, float otherwise) {
        return flag ? *flag : static_cast<float>(get_double(g, key, what).value_or(static_cast<double>(otherwise)));
    };
    kernels::SamplingParameters p;
    p.temperature = number(o.temperature, "temperature", 1.0f);
    if (!o.temperature && config.is_object() && get_bool(g, "do_sample", what) == false) p.temperature = 0.0f;
    p.top_k = o.top_k ? *o.top_k : static_cast<int>(get_int(g, "top_k", what).value_or(0));
    p.top_p = number(o.top_p, "top_p", 1.0f);
    p.min_p = number(o.min_p, "min_p", 0.0f);
    p.typical_p = number(o.typical_p, "typical_p", 1.0f);
    p.repetition_penalty = number(o.repeat_penalty, "repetition_penalty", 1.0f);
    p.presence_penalty = o.presence_penalty.value_or(0.0f);
    p.frequency_penalty = o.frequency_penalty.value_or(0.0f);
    for (const std::string& bias : o.logit_bias) p.logit_bias.push_back(parse_bias(bias));
    if (o.seed) {
        p.seed = *o.seed;
    } else if (p.temperature > 0.0f) {
        std::random_device random;
        p.seed = (static_cast<std::uint64_t>(random()) << 32 | random()) >> 11;  // 53 bits: exact in every JSON reader
        log_info("seed {}", p.seed);
    }
    return p;
}

std::vector<std::int32_t> parse_ids(std::string_view text) {
    std::vector<std::int32_t> ids;
    std::size_t at = 0;
    while (at < text.size()) {
        if (text[at] == ',' || text[at] == ' ' || text[at] == '\n' || text[at] == '\t') {
            ++at;
            continue;
        }
        std::int32_t id = 0;
        const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), id);
        if (error != std::errc{} || id < 0)
            throw_error<UsageError>("token ids: found {:?} at character {}, need numbers like 1,2,3",
                                    std::string(text.substr(at, 16)), at);
        ids.push_back(id);
        at = static_cast<std::size_t>(end - text.data());
    }
    return ids;
}

std::string read_prompt(const std::optional<std::string>& text, const std::optional<std::string>& file) {
    std::string prompt;
    std::string what = "-p";
    if (text) {
        prompt = *text;
    } else if (file && *file != "-") {
        prompt = read_text_file(*file);
        what = *file;
    } else {
        prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
        what = "standard input";
    }
    if (!unicode::is_valid(prompt))
        throw_error<UsageError>("{}: not valid UTF-8 at byte {}; convert it first, for example with iconv", what,
                                unicode::valid_prefix(prompt));
    return prompt;
}

}  // namespace narae::cli
