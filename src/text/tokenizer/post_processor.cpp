#include "text/tokenizer/post_processor.h"

#include "base/error.h"
#include "text/tokenizer/steps.h"

#include <optional>
#include <string>

namespace narae {
namespace {

std::int32_t need_token(std::int64_t id, const Vocabulary& vocabulary, std::string_view what) {
    if (id < 0 || id >= vocabulary.size() || !vocabulary.contains(static_cast<std::int32_t>(id)))
        throw_error<BadFileError>("{}: the post-processor adds the id {}, which is no token", what, id);
    return static_cast<std::int32_t>(id);
}

void add_template(PostProcessor& processor, const Json& json, const Vocabulary& vocabulary, std::string_view what) {
    std::vector<std::int32_t> before, after;
    bool seen_text = false;
    const Json* special = get_object(json, "special_tokens", what);
    for (const Json& item : need_array(json, "single", what)) {
        if (!item.is_object())
            throw_error<BadFileError>("{}: a post-processor's template holds a JSON {}", what, item.type_name());
        if (get_object(item, "Sequence", what)) {
            if (seen_text) throw_error<BadFileError>("{}: the post-processor's template takes the text twice", what);
            seen_text = true;
            continue;
        }
        const Json* token = get_object(item, "SpecialToken", what);
        if (!token) throw_error<BadFileError>("{}: a post-processor's template holds neither Sequence nor SpecialToken", what);
        const std::string name = need_string(*token, "id", what);
        const Json* entry = special ? get_object(*special, name, what) : nullptr;
        if (!entry)
            throw_error<BadFileError>("{}: the post-processor's template names '{}', which it does not define", what, name);
        for (const Json& id : need_array(*entry, "ids", what)) {
            if (!id.is_number_integer())
                throw_error<BadFileError>("{}: an id of '{}' is a JSON {}", what, name, id.type_name());
            (seen_text ? after : before).push_back(need_token(id.get<std::int64_t>(), vocabulary, what));
        }
    }
    if (!seen_text) throw_error<BadFileError>("{}: the post-processor's template leaves the text out", what);
    processor.before.insert(processor.before.begin(), before.begin(), before.end());
    processor.after.insert(processor.after.end(), after.begin(), after.end());
}

// ["[CLS]", 101]
std::int32_t need_pair(const Json& json, std::string_view key, const Vocabulary& vocabulary, std::string_view what) {
    const Json& pair = need_array(json, key, what);
    if (pair.size() != 2 || !pair[1].is_number_integer())
        throw_error<BadFileError>("{}: the post-processor's '{}' is no pair of a token and its id", what, key);
    return need_token(pair[1].get<std::int64_t>(), vocabulary, what);
}

void add(PostProcessor& processor, const Json& json, const Vocabulary& vocabulary, std::string_view what, int depth) {
    const std::string type = step_type(json, "post-processor", depth, what);
    if (type == "Sequence") {
        for (const Json& step : need_array(json, "processors", what)) add(processor, step, vocabulary, what, depth + 1);
    } else if (type == "TemplateProcessing") {
        add_template(processor, json, vocabulary, what);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
        processor.before.insert(processor.before.begin(), need_pair(json, "cls", vocabulary, what));
        processor.after.push_back(need_pair(json, "sep", vocabulary, what));
    } else if (type != "ByteLevel") {  // which concerns offsets only
        unsupported_step("post-processor", type, what);
    }
}

}  // namespace

PostProcessor PostProcessor::parse(const Json& json, const Vocabulary& vocabulary, std::string_view what) {
    PostProcessor processor;
    if (!json.is_null()) add(processor, json, vocabulary, what, 0);
    return processor;
}

Json PostProcessor::to_json(const Vocabulary& vocabulary) const {
    if (before.empty() && after.empty()) return nullptr;
    Json single = Json::array(), pair = Json::array(), special = Json::object();
    const auto add_tokens = [&](const std::vector<std::int32_t>& ids, Json& list, int type) {
        for (const std::int32_t id : ids) {
            const std::string text(vocabulary.text(id));
            list.push_back({{"SpecialToken", {{"id", text}, {"type_id", type}}}});
            special[text] = {{"id", text}, {"ids", Json::array({id})}, {"tokens", Json::array({text})}};
        }
    };
    const auto add_text = [](const char* name, Json& list, int type) {
        list.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    };
    for (Json* list : {&single, &pair}) {
        add_tokens(before, *list, 0);
        add_text("A", *list, 0);
        add_tokens(after, *list, 0);
    }
    add_tokens(before, pair, 1);
    add_text("B", pair, 1);
    add_tokens(after, pair, 1);
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace narae
