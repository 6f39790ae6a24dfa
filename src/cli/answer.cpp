#include "cli/answer.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/model_options.h"
#include "engine/text_stream.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace narae::cli {

Answer generate_answer(Engine& engine, Request request, const Tokenizer* tokenizer, const AnswerText& options,
                       FunctionRef<bool(std::string_view)> piece) {
    Answer answer;
    answer.prompt_tokens = request.prompt.size();
    std::optional<TextStream> stream;
    if (tokenizer) stream.emplace(*tokenizer, options.stop, options.skip_special);
    const double start = monotonic_seconds();
    const RequestId id = engine.submit(std::move(request));
    std::vector<Event> events;
    const auto show = [&](std::string text) {
        answer.text += text;
        return piece(text);
    };
    while (answer.finish == FinishReason::none) {
        events.clear();
        engine.step(events);
        bool reported = false;
        for (const Event& event : events) {
            if (event.request != id) continue;
            reported = true;
            const double now = monotonic_seconds();
            if (event.token >= 0) {
                if (answer.ids.empty()) {
                    answer.first_token_at = now;
                    answer.prompt_seconds = now - start;
                }
                answer.decode_seconds = now - answer.first_token_at;
                answer.ids.push_back(event.token);
            }
            answer.finish = event.finish;
            // The end token itself has no text, whether or not the tokenizer calls it special.
            const bool visible = event.token >= 0 && event.finish != FinishReason::stop;
            const bool go_on = show(visible && stream ? stream->push(event.token) : std::string());
            if (event.finish == FinishReason::none && (!go_on || (stream && stream->stopped()))) engine.cancel(id);
        }
        // A long prompt takes many steps before the first token; one can be stopped there too.
        if (!reported && !piece({})) engine.cancel(id);
    }
    if (stream) {
        show(stream->finish());
        if (stream->stopped()) {
            answer.stop_string = stream->stop_string();
            answer.finish = FinishReason::stop;
        }
    }
    return answer;
}

Json read_chat_file(const std::string& path) {
    const std::string what = path == "-" ? "standard input" : path;
    Json document = parse_json(read_prompt(std::nullopt, path), what);
    Json variables = document.is_array() ? Json{{"messages", std::move(document)}} : std::move(document);
    if (!variables.is_object() || !variables.contains("messages") || !variables["messages"].is_array())
        throw_error<BadFileError>("{}: need a list of messages, or an object with a list named messages", what);
    for (const Json& message : variables["messages"])
        if (!message.is_object())
            throw_error<BadFileError>(
                "{}: found the message {}, need objects like {{\"role\": \"user\", \"content\": \"Hello\"}}", what,
                dump_json(message).substr(0, 60));
    if (!variables.contains("add_generation_prompt")) variables["add_generation_prompt"] = true;
    return variables;
}

TaggedText render_chat(const ModelText& text, const Json& variables) {
    if (text.chat_template.empty())
        throw_error<BadFileError>(
            "the model has no chat template; use narae generate without --chat and write the prompt as it expects it");
    const bool tools = variables.contains("tools") && !variables["tools"].is_null();
    return ChatTemplate(tools && !text.tool_template.empty() ? text.tool_template : text.chat_template)
        .render(variables, text.special_tokens);
}

std::vector<std::int32_t> encode_chat(const ModelText& text, const Json& messages) {
    const TaggedText prompt = render_chat(text, {{"messages", messages}, {"add_generation_prompt", true}});
    return text.require_tokenizer().encode(prompt, {.add_special = false});
}

Json memory_json(const Model& model, const Engine& engine) {
    return {{"resident_bytes", resident_bytes()},
            {"peak_resident_bytes", peak_resident_bytes()},
            {"weights_bytes", model.plan.weights},
            {"kv_bytes", engine.stats().kv_bytes},
            {"activations_bytes", model.plan.activations + model.plan.logits + model.plan.scratch + model.plan.batch}};
}

}  // namespace narae::cli
