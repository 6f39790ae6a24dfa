// One request through the engine to its end, as text: what generate and chat share.
#pragma once

#include "base/function_ref.h"
#include "base/json.h"
#include "checkpoint/text_files.h"
#include "engine/engine.h"
#include "text/tagged_text.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace narae::cli {

struct Answer {
    std::string text;
    std::vector<std::int32_t> ids;
    FinishReason finish = FinishReason::none;
    std::optional<std::string> stop_string;
    std::size_t prompt_tokens = 0;
    double first_token_at = 0.0;  // monotonic_seconds()
    double prompt_seconds = 0.0;  // until the first token
    double decode_seconds = 0.0;  // the tokens after the first

    double prompt_rate() const { return prompt_seconds > 0.0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0.0; }
    double decode_rate() const {
        return ids.size() > 1 && decode_seconds > 0.0 ? static_cast<double>(ids.size() - 1) / decode_seconds : 0.0;
    }
};

struct AnswerText {
    std::vector<std::string> stop;
    bool skip_special = true;
};

// Runs the engine until this request ends. `piece` gets text as it becomes certain and returns false to stop the answer.
// Without a tokenizer there are ids only (`piece` is then called with an empty text).
Answer generate_answer(Engine& engine, Request request, const Tokenizer* tokenizer, const AnswerText& options,
                       FunctionRef<bool(std::string_view)> piece);

// The variables of a chat template from a JSON file (-: standard input): a list of messages, or an object with `messages`.
// Where the object does not say otherwise the generation prompt is added. BadFileError: anything else.
Json read_chat_file(const std::string& path);

// The chat template rendered with these variables and the model's special tokens. BadFileError: the model has no template.
TaggedText render_chat(const ModelText& text, const Json& variables);

// Messages through the chat template to ids, the generation prompt added. In what users wrote nothing becomes a special token.
std::vector<std::int32_t> encode_chat(const ModelText& text, const Json& messages);

Json memory_json(const Model& model, const Engine& engine);

}  // namespace narae::cli
