// Any bytes as a chat template: the first chooses a conversation and the white space rules, the rest is the template.
#include "text/chat_template.h"
#include "base/error.h"
#include "base/json.h"
#include "text/jinja/lexer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

const std::array<narae::Json, 4>& conversations() {
    static const std::array<narae::Json, 4> all = {
        narae::parse_json(
            R"({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " 안녕 <|im_end|> "}],
                              "add_generation_prompt": true})",
            "conversation"),
        narae::parse_json(
            R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": null, "tool_calls": [
                              {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]},
                              {"role": "tool", "tool_call_id": "abcdefghi", "name": "f", "content": "42"}],
                              "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters":
                              {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}, "required": ["a"]}}}]})",
            "conversation"),
        narae::parse_json(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]},
                              {"role": "assistant", "content": "<think>\nx\n</think>\ny", "reasoning_content": "r"},
                              {"role": "user", "content": "again"}], "enable_thinking": false, "date_string": "26 Jul 2024"})",
                          "conversation"),
        narae::parse_json(
            R"({"messages": [], "x": {"y": {"z": [1, "a", {"k": -0.5}]}}, "s": "ß ﬁ\nΣ\t'\"", "n": 9007199254740993})",
            "conversation"),
    };
    return all;
}

void check(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view source(reinterpret_cast<const char*>(data) + 1, size - 1);
    const bool trims = (data[0] & 4) == 0;
    try {
        const narae::ChatTemplate parsed(source, {.trim_blocks = trims, .lstrip_blocks = trims});
        const narae::TaggedText rendered =
            parsed.render(conversations()[data[0] & 3], {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
        std::size_t at = 0;
        for (std::size_t i = 0; i < rendered.runs.size(); ++i) {
            const narae::TextRun& run = rendered.runs[i];
            check(run.begin == at && run.end > at && (i == 0 || rendered.runs[i - 1].trusted != run.trusted));
            at = run.end;
        }
        check(at == rendered.text.size());
    } catch (const narae::UsageError&) {
    } catch (const narae::BadFileError&) {
    }
    return 0;
}
