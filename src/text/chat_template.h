// A model's chat template: turns messages into the prompt text, exactly as transformers' apply_chat_template does, and
// says which bytes of it the template wrote and which came with the request.
// It is our own interpreter of the Jinja2 that transformers runs (sandboxed and immutable, trim_blocks, lstrip_blocks,
// loop controls, {% generation %}, its tojson, raise_exception and strftime_now). A template cannot reach anything but
// its variables and the clock, and is bounded in time, memory and output (text/jinja/limits.h).
#pragma once

#include "base/json.h"
#include "text/tagged_text.h"

#include <memory>
#include <string>
#include <string_view>

namespace narae {

namespace jinja {
struct Options;
struct Template;
}  // namespace jinja

// Immutable; copies share the parsed template, and any number of threads may render at once.
class ChatTemplate {
public:
    // BadFileError with the template's line when it cannot be parsed.
    explicit ChatTemplate(std::string_view source);
    // With other white space rules than transformers'.
    ChatTemplate(std::string_view source, const jinja::Options& options);

    // `variables` come with the request: messages, tools, documents, add_generation_prompt, enable_thinking ... Their
    // text is not trusted, but for a message's role when it is a well-known one. `special_tokens` (bos_token, eos_token
    // ...: tokenizer_config.json's, without those that are null) belong to the model and are trusted; variables of the
    // same name come before them. As transformers does, `tools` and `documents` are None and add_generation_prompt is
    // False when they are not given. Both must be objects.
    // UsageError with the template's line when the template raises or fails on these variables, and when it exceeds
    // its limits.
    TaggedText render(const Json& variables, const Json& special_tokens = Json::object()) const;

private:
    std::shared_ptr<const jinja::Template> parsed_;
};

}  // namespace narae
