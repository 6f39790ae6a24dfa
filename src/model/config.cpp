#include "model/config.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>

namespace narae {
namespace {

void require(bool ok, std::string_view what, std::string_view key, std::int64_t found, std::string_view need) {
    if (!ok) throw_error<BadFileError>("{}: {} is {}, need {}", what, key, found, need);
}

}  // namespace

float ModelConfig::scale_of_layer(int layer) const {
    const double scale =
        attention_scale != 0.0f ? static_cast<double>(attention_scale) : 1.0 / std::sqrt(static_cast<double>(head_dim));
    return static_cast<float>(attention_scale_by_layer ? scale / (layer + 1) : scale);
}

void validate(const ModelConfig& c, std::string_view what) {
    require(c.layers >= 1 && c.layers <= 1024, what, "the number of layers", c.layers, "1 to 1024");
    require(c.hidden >= 1 && c.hidden <= (1 << 20), what, "the hidden size", c.hidden, "1 to 1048576");
    require(c.heads >= 1 && c.heads <= 4096, what, "the number of attention heads", c.heads, "1 to 4096");
    require(c.kv_heads >= 1 && c.kv_heads <= c.heads, what, "the number of key/value heads", c.kv_heads,
            fmt::format("1 to {} (the attention heads)", c.heads));
    require(c.heads % c.kv_heads == 0, what, "the number of key/value heads", c.kv_heads,
            fmt::format("a divisor of {} heads", c.heads));
    require(c.head_dim >= 1 && c.head_dim <= 4096, what, "the head size", c.head_dim, "1 to 4096");
    require(c.ffn >= 1 && c.ffn <= (1 << 22), what, "the MLP width", c.ffn, "1 to 4194304");
    require(c.vocab >= 1 && c.vocab <= (1 << 21), what, "the vocabulary size", c.vocab, "1 to 2097152");
    require(c.max_positions >= 1 && c.max_positions <= (1 << 28), what, "the largest position", c.max_positions,
            "1 to 268435456");
    if (!(c.norm_eps >= 0.0f && c.norm_eps < 1.0f))
        throw_error<BadFileError>("{}: the norm's epsilon is {}, need a number from 0 to 1", what, c.norm_eps);
    if (c.positions == Positions::rope) {
        const int rotary = c.rotary_dim();
        require(rotary >= 2 && rotary <= c.head_dim, what, "the rotary size", rotary,
                fmt::format("an even number from 2 to {}", c.head_dim));
        if (!(c.rope.theta > 0.0 && std::isfinite(c.rope.theta)))
            throw_error<BadFileError>("{}: rope_theta is {}, need a positive number", what, c.rope.theta);
        if (!(c.rope.factor > 0.0 && std::isfinite(c.rope.factor)))
            throw_error<BadFileError>("{}: the rope scaling factor is {}, need a positive number", what, c.rope.factor);
    }
    NARAE_CHECK(c.windows.empty() || static_cast<int>(c.windows.size()) == c.layers, "{} windows", c.windows.size());
}

KvPlacement place_kv(const ModelConfig& config, kernels::KvType type) {
    KvPlacement placement;
    for (int layer = 0; layer < config.layers; ++layer) {
        const int window = config.windows.empty() ? 0 : config.windows[static_cast<std::size_t>(layer)];
        auto group =
            std::find_if(placement.groups.begin(), placement.groups.end(), [&](const auto& g) { return g.window == window; });
        if (group == placement.groups.end()) {
            placement.groups.push_back({0, config.kv_heads, config.head_dim, window, type});
            group = placement.groups.end() - 1;
        }
        placement.layers.emplace_back(static_cast<int>(group - placement.groups.begin()), group->layers++);
    }
    return placement;
}

}  // namespace narae
