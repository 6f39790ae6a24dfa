// Any bytes as config.json: every family reads them or refuses with an error of a bad file.
#include "base/error.h"
#include "model/family.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace narae;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    Json json;
    try {
        json = parse_json(text, "config.json");
        if (!json.is_object()) return 0;
    } catch (const BadFileError&) {
        return 0;
    }
    for (const Family* family : all_families()) {
        try {
            ModelConfig config = family->read_config(json, "config.json");
            config.family = std::string(family->name);
            validate(config, "config.json");
            if (config.layers <= 8) family->weights(config);
            if (config.positions == Positions::rope)
                rotary_frequencies(config.rope, config.rotary_dim(), config.max_positions, config.max_positions);
            place_kv(config, kernels::KvType::f16);
        } catch (const BadFileError&) {
        }
    }
    return 0;
}
