// The language against Python's Jinja2: the unit cases of huggingface.js, and a collection of corners.
#include "base/clock.h"
#include "text/chat_template_goldens.h"

namespace narae::test {
namespace {

void expect_case(const Json& one, const Json& context, const jinja::Options& options) {
    const std::string source = one.at("template").get<std::string>();
    SCOPED_TRACE(source);
    const bool refused = !one.contains("expected") || one.at("expected").is_null();
    try {
        const TaggedText rendered = ChatTemplate(source, options).render(context);
        expect_runs_cover(rendered);
        EXPECT_FALSE(refused) << "Python refuses this: " << one.value("error", "") << "; rendered: " << rendered.text;
        if (!refused) {
            EXPECT_EQ(rendered.text, one.at("expected").get<std::string>());
        }
    } catch (const Error& error) {
        EXPECT_TRUE(refused) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr("chat template, line "));
    }
}

TEST(JinjaGolden, UnitCases) {
    const Json goldens = chat_template_golden("unit.json");
    ASSERT_EQ(goldens.at("cases").size(), 157u);
    int refused = 0;
    for (const Json& one : goldens.at("cases")) {
        expect_case(one, one.at("context"), {.trim_blocks = false, .lstrip_blocks = false});
        refused += one.at("expected").is_null() ? 1 : 0;
    }
    EXPECT_EQ(refused, 11);
}

TEST(JinjaGolden, Corners) {
    const UtcScope utc;
    const Json goldens = chat_template_golden("expressions.json");
    const FixedWallClock clock(goldens.at("clock").get<std::time_t>());
    for (const Json& one : goldens.at("cases")) expect_case(one, goldens.at("context"), {});
}

}  // namespace
}  // namespace narae::test
