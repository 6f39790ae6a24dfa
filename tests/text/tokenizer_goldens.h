// The tokenizer goldens of tools/oracle/tokenizer_goldens.py.
#pragma once

#include "base/json.h"
#include "support/support.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae::test {

using Ids = std::vector<std::int32_t>;

inline Json tokenizer_goldens(std::string_view name) {
    const Path path = data_file("tokenizer") / (std::string(name) + ".json");
    return parse_json(read_text_file(path), path.string());
}

// What a Detokenizer gives, joined.
inline std::string decode_stepwise(const Tokenizer& tokenizer, std::span<const std::int32_t> ids, bool skip_special) {
    Detokenizer detokenizer(tokenizer, skip_special);
    std::string text;
    for (const std::int32_t id : ids) text += detokenizer.push(id);
    return text + detokenizer.finish();
}

// Holds the tokenizer against "cases": [text, ids, ids without special tokens, decoded, decoded without special tokens].
inline void expect_cases(const Tokenizer& tokenizer, const Json& cases) {
    for (const Json& row : cases) {
        const auto text = row.at(0).get<std::string>();
        const auto ids = row.at(1).get<Ids>();
        EXPECT_EQ(tokenizer.encode(text), ids) << text;
        EXPECT_EQ(tokenizer.encode(text, {.add_special = false}), row.at(2).get<Ids>()) << text;
        EXPECT_EQ(tokenizer.decode(ids, false), row.at(3).get<std::string>()) << text;
        EXPECT_EQ(tokenizer.decode(ids, true), row.at(4).get<std::string>()) << text;
        EXPECT_EQ(decode_stepwise(tokenizer, ids, false), row.at(3).get<std::string>()) << text;
        EXPECT_EQ(decode_stepwise(tokenizer, ids, true), row.at(4).get<std::string>()) << text;
    }
}

}  // namespace narae::test
