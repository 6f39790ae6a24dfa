// Rotary frequencies against transformers' own functions (tests/data/goldens/rope.json, made by tools/oracle).
#include "base/error.h"
#include "base/json.h"
#include "model/family.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace narae::test {
namespace {

// Both sides compute in float32 from float32 powers; they may round one step apart at each of at most four operations.
constexpr double kRelative = 4.0 * 0x1p-23;

TEST(Rope, frequencies_equal_transformers) {
    const Json golden = parse_json(read_text_file(data_file("goldens/rope.json")), "rope.json");
    ASSERT_GE(golden["cases"].size(), 10u);
    for (const Json& item : golden["cases"]) {
        const std::string name = item["name"];
        const Json& config = item["config"];
        const RopeConfig rope = read_rope(config, name, 10000.0);
        const std::int64_t max_positions = config["max_position_embeddings"];
        const std::int64_t tokens = item["tokens"].is_null() ? max_positions : item["tokens"].get<std::int64_t>();
        const auto expected = item["inv_freq"].get<std::vector<double>>();
        const auto found = rotary_frequencies(rope, static_cast<int>(2 * expected.size()), max_positions, tokens);
        EXPECT_NEAR(found.scaling, item["attention_scaling"].get<double>(), 1e-6) << name;
        ASSERT_EQ(found.inverse.size(), expected.size()) << name;
        for (std::size_t i = 0; i < expected.size(); ++i)
            EXPECT_NEAR(found.inverse[i], expected[i], kRelative * expected[i]) << name << " [" << i << "]";
    }
}

TEST(Rope, unknown_type_is_refused) {
    const Json config = {{"rope_scaling", {{"type", "spiral"}, {"factor", 2.0}}}};
    EXPECT_THROW(read_rope(config, "config.json", 10000.0), BadFileError);
}

TEST(Rope, null_scaling_is_none) {
    const RopeConfig rope = read_rope(Json{{"rope_scaling", nullptr}, {"rope_theta", 100000}}, "config.json", 10000.0);
    EXPECT_EQ(rope.type, "default");
    EXPECT_EQ(rope.theta, 100000.0);
}

}  // namespace
}  // namespace narae::test
