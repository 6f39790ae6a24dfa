// The rope keys of config.json in all their historical forms (rope_theta, rope_scaling {type | rope_type}, rope_parameters).
#include "base/error.h"
#include "model/family.h"

#include <algorithm>
#include <array>

namespace narae {
namespace {

constexpr std::array<std::string_view, 6> kTypes = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};

std::vector<double> read_factors(const Json& scaling, std::string_view key, std::string_view what) {
    std::vector<double> factors;
    if (const Json* list = get_array(scaling, key, what)) {
        for (const Json& value : *list) {
            if (!value.is_number() || value.get<double>() <= 0.0)
                throw_error<BadFileError>("{}: {} holds {}, need positive numbers", what, key, dump_json(value));
            factors.push_back(value.get<double>());
        }
    }
    return factors;
}

}  // namespace

RopeConfig read_rope(const Json& config, std::string_view what, double default_theta) {
    RopeConfig rope;
    const Json* scaling = get_object(config, "rope_scaling", what);
    if (!scaling) scaling = get_object(config, "rope_parameters", what);
    const Json none = Json::object();
    if (!scaling) scaling = &none;

    rope.theta =
        get_double(*scaling, "rope_theta", what).value_or(get_double(config, "rope_theta", what).value_or(default_theta));
    rope.partial = get_double(*scaling, "partial_rotary_factor", what)
                       .value_or(get_double(config, "partial_rotary_factor", what).value_or(1.0));
    if (!(rope.partial > 0.0 && rope.partial <= 1.0))
        throw_error<BadFileError>("{}: partial_rotary_factor is {}, need a number over 0 and at most 1", what, rope.partial);

    auto type = get_string(*scaling, "rope_type", what);
    if (!type) type = get_string(*scaling, "type", what);
    rope.type = type.value_or("default");
    if (rope.type == "su") rope.type = "longrope";
    if (std::find(kTypes.begin(), kTypes.end(), rope.type) == kTypes.end())
        throw_error<BadFileError>("{}: rope scaling type {} is not known; known: {}", what, rope.type, fmt::join(kTypes, ", "));

    const auto max_positions = get_int(config, "max_position_embeddings", what);
    auto original = get_int(config, "original_max_position_embeddings", what);
    if (!original) original = get_int(*scaling, "original_max_position_embeddings", what);
    rope.original_max_positions = original.value_or(0);
    if (rope.original_max_positions < 0)
        throw_error<BadFileError>("{}: original_max_position_embeddings is {}, need a positive integer", what,
                                  rope.original_max_positions);

    const auto factor = get_double(*scaling, "factor", what);
    const bool from_lengths =
        (rope.type == "yarn" || rope.type == "longrope") && max_positions && rope.original_max_positions > 0;
    if (!factor &&
        (rope.type == "linear" || rope.type == "dynamic" || rope.type == "llama3" || (rope.type == "yarn" && !from_lengths)))
        throw_error<BadFileError>("{}: rope scaling {} has no factor, need a positive number", what, rope.type);
    rope.factor = factor.value_or(
        from_lengths ? static_cast<double>(*max_positions) / static_cast<double>(rope.original_max_positions) : 1.0);
    rope.low_freq_factor = get_double(*scaling, "low_freq_factor", what).value_or(1.0);
    rope.high_freq_factor = get_double(*scaling, "high_freq_factor", what).value_or(4.0);
    if (rope.type == "llama3" && !(rope.low_freq_factor > 0.0 && rope.high_freq_factor > rope.low_freq_factor))
        throw_error<BadFileError>("{}: low_freq_factor {} and high_freq_factor {}, need 0 < low < high", what,
                                  rope.low_freq_factor, rope.high_freq_factor);
    if (const double fast = get_double(*scaling, "beta_fast", what).value_or(0.0); fast != 0.0) rope.beta_fast = fast;
    if (const double slow = get_double(*scaling, "beta_slow", what).value_or(0.0); slow != 0.0) rope.beta_slow = slow;
    if (!(rope.beta_fast > 0.0 && rope.beta_slow > 0.0))
        throw_error<BadFileError>("{}: beta_fast {} and beta_slow {}, need positive numbers", what, rope.beta_fast,
                                  rope.beta_slow);
    rope.truncate = get_bool(*scaling, "truncate", what).value_or(true);
    rope.attention_factor = get_double(*scaling, "attention_factor", what);
    rope.mscale = get_double(*scaling, "mscale", what);
    rope.mscale_all_dim = get_double(*scaling, "mscale_all_dim", what);
    rope.short_factor = read_factors(*scaling, "short_factor", what);
    rope.long_factor = read_factors(*scaling, "long_factor", what);
    return rope;
}

void write_rope(const RopeConfig& rope, std::int64_t max_positions, Json& config) {
    config["rope_theta"] = rope.theta;
    if (rope.partial != 1.0) config["partial_rotary_factor"] = rope.partial;
    if (rope.type == "default") {
        config["rope_scaling"] = nullptr;
        return;
    }
    Json scaling = {{"rope_type", rope.type}};
    const std::int64_t original = rope.original_max_positions > 0 ? rope.original_max_positions : max_positions;
    scaling["factor"] = rope.factor;
    if (rope.type == "llama3") {
        scaling["low_freq_factor"] = rope.low_freq_factor;
        scaling["high_freq_factor"] = rope.high_freq_factor;
    }
    if (rope.type == "yarn") {
        scaling["beta_fast"] = rope.beta_fast;
        scaling["beta_slow"] = rope.beta_slow;
        if (!rope.truncate) scaling["truncate"] = false;
        if (rope.mscale) scaling["mscale"] = *rope.mscale;
        if (rope.mscale_all_dim) scaling["mscale_all_dim"] = *rope.mscale_all_dim;
    }
    if (rope.type == "longrope") {
        scaling["short_factor"] = rope.short_factor;
        scaling["long_factor"] = rope.long_factor;
    }
    if (rope.attention_factor && (rope.type == "yarn" || rope.type == "longrope"))
        scaling["attention_factor"] = *rope.attention_factor;
    if (rope.type == "llama3" || rope.type == "yarn") scaling["original_max_position_embeddings"] = original;
    if (rope.type == "longrope") config["original_max_position_embeddings"] = original;
    config["rope_scaling"] = scaling;
}

}  // namespace narae
