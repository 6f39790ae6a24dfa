#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/limits.h"
#include "text/jinja/parser.h"
#include "text/jinja/scopes.h"
#include "text/unicode.h"

namespace narae {

ChatTemplate::ChatTemplate(std::string_view source) : ChatTemplate(source, jinja::Options{}) {}

ChatTemplate::ChatTemplate(std::string_view source, const jinja::Options& options) {
    if (source.size() > jinja::kMaxTemplateBytes)
        throw_error<BadFileError>("chat template: it has {} bytes, more than the limit of {}", source.size(),
                                  jinja::kMaxTemplateBytes);
    if (!unicode::is_valid(source)) throw_error<BadFileError>("chat template: it is not valid UTF-8");
    auto parsed = std::make_shared<jinja::Template>(jinja::parse(source, options));
    jinja::resolve_scopes(*parsed);
    parsed_ = std::move(parsed);
}

TaggedText ChatTemplate::render(const Json& variables, const Json& special_tokens) const {
    if (!variables.is_object() || !special_tokens.is_object())
        throw_error<UsageError>("chat template: the variables must be a JSON object, found {}",
                                (variables.is_object() ? special_tokens : variables).type_name());
    Json trusted = special_tokens;
    trusted.emplace("tools", nullptr);
    trusted.emplace("documents", nullptr);
    trusted.emplace("add_generation_prompt", false);
    return jinja::Interpreter(*parsed_, variables, trusted).render();
}

}  // namespace narae
