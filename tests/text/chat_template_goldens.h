// The goldens that tools/oracle/chat_templates.py made.
#pragma once

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "support/support.h"
#include "text/chat_template.h"
#include "text/jinja/lexer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace narae::test {

inline Json chat_template_golden(const std::string& name) {
    return parse_json(read_text_file(data_file("chat_templates/" + name)), name);
}

inline std::string fnv1a(std::string_view text) {
    std::uint64_t value = 0xCBF29CE484222325u;
    for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return fmt::format("{:016x}", value);
}

// The runs are ordered, not empty, cover exactly the text, and neighbours differ.
inline void expect_runs_cover(const TaggedText& rendered) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < rendered.runs.size(); ++i) {
        EXPECT_EQ(rendered.runs[i].begin, at);
        EXPECT_GT(rendered.runs[i].end, rendered.runs[i].begin);
        if (i > 0) {
            EXPECT_NE(rendered.runs[i].trusted, rendered.runs[i - 1].trusted);
        }
        at = rendered.runs[i].end;
    }
    EXPECT_EQ(at, rendered.text.size());
}

// Sets TZ for a scope, as the goldens were made in UTC.
class UtcScope {
public:
    UtcScope() {
        setenv("TZ", "UTC", 1);
        tzset();
    }
    ~UtcScope() {
        unsetenv("TZ");
        tzset();
    }
    UtcScope(const UtcScope&) = delete;
    UtcScope& operator=(const UtcScope&) = delete;
};

}  // namespace narae::test
