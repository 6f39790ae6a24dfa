#include "cli/conversation.h"

#include "base/error.h"
#include "cli/answer.h"

#include <algorithm>

namespace narae::cli {

Json conversation_json(const Conversation& conversation) {
    Json messages = Json::array();
    if (!conversation.system.empty()) messages.push_back({{"role", "system"}, {"content", conversation.system}});
    for (const Message& message : conversation.messages)
        messages.push_back({{"role", message.role}, {"content", message.content}});
    return messages;
}

Conversation parse_conversation(const Json& document, std::string_view what) {
    const Json& messages = document.is_object() && document.contains("messages") ? document["messages"] : document;
    if (!messages.is_array()) throw_error<BadFileError>("{}: need a list of messages", what);
    Conversation conversation;
    for (const Json& message : messages) {
        const bool has_text = message.is_object() && message.contains("role") && message["role"].is_string() &&
                              message.contains("content") && message["content"].is_string();
        if (!has_text)
            throw_error<BadFileError>("{}: found the message {}, need a role and a text as content", what,
                                      dump_json(message).substr(0, 60));
        const std::string role = message["role"], content = message["content"];
        if (role == "system" && conversation.messages.empty())
            conversation.system = content;
        else
            conversation.messages.push_back({role, content});
    }
    return conversation;
}

void save_conversation(const Conversation& conversation, const Path& path) {
    AtomicFile file(path);
    file.write(dump_json(conversation_json(conversation), 2) + "\n");
    file.commit();
}

Conversation load_conversation(const Path& path) {
    return parse_conversation(parse_json(read_text_file(path), path.string()), path.string());
}

ChatPrompt chat_prompt(const Conversation& conversation, const ModelText& text, std::size_t room) {
    ChatPrompt prompt;
    Conversation kept = conversation;
    while (true) {
        prompt.ids = encode_chat(text, conversation_json(kept));
        if (prompt.ids.size() <= room || kept.messages.size() <= 1) return prompt;
        // A question with all that follows it, up to the next one.
        const auto next = std::find_if(kept.messages.begin() + 1, kept.messages.end(),
                                       [](const Message& message) { return message.role == "user"; });
        if (next == kept.messages.end()) return prompt;
        prompt.left_out += static_cast<std::size_t>(next - kept.messages.begin());
        kept.messages.erase(kept.messages.begin(), next);
    }
}

}  // namespace narae::cli
