#include "checkpoint/special_tokens.h"

#include <string>

namespace narae {
namespace {

// The token's text, or null.
Json text_of(const Json& token) {
    if (token.is_string()) return token;
    if (!token.is_object()) return nullptr;
    const auto content = token.find("content");
    return content != token.end() && content->is_string() ? *content : Json(nullptr);
}

}  // namespace

Json special_token_texts(const Json& config) {
    Json texts = Json::object();
    if (!config.is_object()) return texts;
    for (const auto& [key, value] : config.items()) {
        if (key.ends_with("_token")) {
            if (Json text = text_of(value); !text.is_null()) texts[key] = std::move(text);
        } else if (key == "additional_special_tokens" && value.is_array() && !value.empty()) {
            Json list = Json::array();
            for (const Json& token : value)
                if (Json text = text_of(token); !text.is_null()) list.push_back(std::move(text));
            texts[key] = std::move(list);
        }
    }
    return texts;
}

}  // namespace narae
