// What was said in a chat: kept, saved, loaded, and made to fit the model's context. Plain data and free functions.
#pragma once

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/text_files.h"

#include <cstdint>
#include <string>
#include <vector>

namespace narae::cli {

struct Message {
    std::string role, content;
};

struct Conversation {
    std::string system;             // empty: none (the template may have its own)
    std::vector<Message> messages;  // user and assistant in turn
};

// A list of messages as templates read it, the system message first; also what files hold (`narae template` reads them too).
Json conversation_json(const Conversation& conversation);
// BadFileError: no list of messages whose content is text.
Conversation parse_conversation(const Json& document, std::string_view what);

void save_conversation(const Conversation& conversation, const Path& path);
Conversation load_conversation(const Path& path);

// The ids of the conversation's prompt. When they are more than `room`, the oldest exchanges are left out of the prompt, never
// the system message or the last question; `left_out` counts the messages.
struct ChatPrompt {
    std::vector<std::int32_t> ids;
    std::size_t left_out = 0;
};
ChatPrompt chat_prompt(const Conversation& conversation, const ModelText& text, std::size_t room);

}  // namespace narae::cli
