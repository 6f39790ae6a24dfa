// narae template: messages through the chat template, as the model will read them.
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/text_files.h"
#include "cli/answer.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "text/tagged_text.h"
#include "text/tokenizer.h"

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    std::string file;
    bool no_generation_prompt = false, ids_only = false, json = false;
};

void run(const Options& o) {
    const ModelText text = load_model_text(resolve_model(o.model.model));
    Json variables = read_chat_file(o.file);
    if (o.no_generation_prompt) variables["add_generation_prompt"] = false;
    const TaggedText rendered = render_chat(text, variables);
    const auto ids = [&] { return text.require_tokenizer().encode(rendered, {.add_special = false}); };
    if (o.json) {
        Json result = {{"text", rendered.text}};
        result["ids"] = text.tokenizer ? Json(ids()) : Json();
        print_output("{}\n", dump_json(result));
    } else if (o.ids_only) {
        print_output("{}\n", fmt::join(ids(), ","));
    } else {
        write_output(rendered.text);
    }
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("template", "Show a conversation as the model reads it");
    add_model_options(verb, o->model, false);
    verb.add_option(
            "messages", o->file,
            "A JSON file: a list of messages, or an object with `messages` and other variables (tools, ...); -: standard input")
        ->required();
    verb.add_flag("--no-generation-prompt", o->no_generation_prompt, "Without the opening of the assistant's answer");
    verb.add_flag("--ids", o->ids_only, "The token ids of the prompt instead of its text");
    verb.add_flag("--json", o->json, "One JSON document with text and ids");
    verb.footer(
        "Example:\n  echo '[{\"role\": \"user\", \"content\": \"Hello\"}]' > messages.json\n  narae template default "
        "messages.json");
    verb.callback([o] { run(*o); });
}

const Verb kTemplate = {"template", add};
const RegisterVerb kRegister(kTemplate);

}  // namespace
}  // namespace narae::cli
