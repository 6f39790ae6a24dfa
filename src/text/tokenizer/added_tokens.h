// Added tokens: texts that are cut out before the model sees anything (tokenizer.json, added_tokens). Leftmost match,
// longest of those that begin together, through a trie. Immutable after build(); find may run concurrently.
// Source: huggingface/tokenizers, added_vocabulary.rs.
#pragma once

#include "base/function_ref.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

constexpr std::size_t kMaximumAddedTokenBytes = 1024;

struct AddedToken {
    std::int32_t id = -1;
    std::string content;
    bool single_word = false;  // no match beside a word character
    bool left_strip = false;   // swallows the whitespace before it
    bool right_strip = false;  // and after it
    bool normalized = false;   // searched in the normalized text, else in the raw text
    bool special = false;
};

// A part of a text: a token that was found, or (token == nullptr) what lies between.
struct AddedTokenMatch {
    const AddedToken* token;
    std::size_t begin, end;
};

class AddedTokenTrie {
public:
    // `tokens` are the patterns with their texts as they are searched; both must stay where they are. Texts that come
    // twice: the first counts. Empty texts are ignored.
    void build(const std::vector<std::pair<std::string, const AddedToken*>>& patterns);
    bool empty() const { return nodes_.empty(); }

    // The parts of the text, in order, none empty but matches. `allowed` says whether a special token may be recognised
    // at these bytes.
    void split(std::string_view text, FunctionRef<bool(std::size_t begin, std::size_t end)> allowed,
               std::vector<AddedTokenMatch>& parts) const;

private:
    struct Node {
        std::uint32_t first_child = 0, children = 0;
        const AddedToken* token = nullptr;
    };
    struct Child {
        unsigned char byte;
        std::uint32_t node;
    };
    const Node* child(const Node& node, unsigned char byte) const;

    std::vector<Node> nodes_;
    std::vector<Child> children_;
    std::array<std::int32_t, 256> root_{};  // the node after one byte, or -1
};

}  // namespace narae
