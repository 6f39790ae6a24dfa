#include "text/tokenizer/added_tokens.h"

#include "text/unicode.h"

#include <algorithm>
#include <utility>

namespace narae {
namespace {

std::size_t whitespace_before(std::string_view text, std::size_t end) {
    while (end > 0) {
        const unicode::Decoded d = unicode::decode_before(text, end);
        if (!unicode::is_whitespace(d.code_point)) break;
        end -= d.length;
    }
    return end;
}

std::size_t whitespace_after(std::string_view text, std::size_t begin) {
    while (begin < text.size()) {
        const unicode::Decoded d = unicode::decode(text, begin);
        if (!unicode::is_whitespace(d.code_point)) break;
        begin += d.length;
    }
    return begin;
}

bool beside_word(std::string_view text, std::size_t begin, std::size_t end) {
    return (begin > 0 && unicode::is_word(unicode::decode_before(text, begin).code_point)) ||
           (end < text.size() && unicode::is_word(unicode::decode(text, end).code_point));
}

}  // namespace

void AddedTokenTrie::build(const std::vector<std::pair<std::string, const AddedToken*>>& patterns) {
    nodes_.clear();
    children_.clear();
    root_.fill(-1);
    std::vector<std::pair<std::string_view, const AddedToken*>> sorted;
    for (const auto& [text, token] : patterns)
        if (!text.empty()) sorted.emplace_back(text, token);
    if (sorted.empty()) return;
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

    // Breadth first over ranges of the sorted texts that share their first `depth` bytes.
    struct Work {
        std::size_t begin, end, depth;
        std::uint32_t node;
    };
    nodes_.emplace_back();
    std::vector<Work> work = {{0, sorted.size(), 0, 0}};
    for (std::size_t i = 0; i < work.size(); ++i) {
        auto [begin, end, depth, node] = work[i];
        if (sorted[begin].first.size() == depth) nodes_[node].token = sorted[begin].second;
        while (begin < end && sorted[begin].first.size() == depth) ++begin;
        nodes_[node].first_child = static_cast<std::uint32_t>(children_.size());
        while (begin < end) {
            const char byte = sorted[begin].first[depth];
            std::size_t next = begin;
            while (next < end && sorted[next].first[depth] == byte) ++next;
            const auto child = static_cast<std::uint32_t>(nodes_.size());
            nodes_.emplace_back();
            children_.push_back({static_cast<unsigned char>(byte), child});
            ++nodes_[node].children;
            if (node == 0) root_[static_cast<unsigned char>(byte)] = static_cast<std::int32_t>(child);
            work.push_back({begin, next, depth + 1, child});
            begin = next;
        }
    }
}

const AddedTokenTrie::Node* AddedTokenTrie::child(const Node& node, unsigned char byte) const {
    const auto begin = children_.begin() + node.first_child, end = begin + node.children;
    const auto found = std::lower_bound(begin, end, byte, [](const Child& c, unsigned char b) { return c.byte < b; });
    return found != end && found->byte == byte ? &nodes_[found->node] : nullptr;
}

void AddedTokenTrie::split(std::string_view text, FunctionRef<bool(std::size_t, std::size_t)> allowed,
                           std::vector<AddedTokenMatch>& parts) const {
    std::size_t done = 0;  // where the last part ended
    for (std::size_t at = 0; at < text.size() && !empty();) {
        const std::int32_t first = root_[static_cast<unsigned char>(text[at])];
        if (first < 0) {
            ++at;
            continue;
        }
        const AddedToken* found = nullptr;
        std::size_t found_end = at;
        const Node* node = &nodes_[static_cast<std::size_t>(first)];
        for (std::size_t end = at + 1; node; ++end) {
            if (node->token && (!node->token->special || allowed(at, end))) found = node->token, found_end = end;
            if (end == text.size()) break;
            node = child(*node, static_cast<unsigned char>(text[end]));
        }
        if (!found) {
            ++at;
            continue;
        }
        std::size_t begin = at, end = found_end;
        at = found_end;
        if (found->single_word && beside_word(text, begin, end)) continue;
        if (found->left_strip) begin = std::max(whitespace_before(text, begin), std::min(done, begin));
        if (found->right_strip) end = whitespace_after(text, end);
        if (done < begin) parts.push_back({nullptr, done, begin});
        parts.push_back({found, begin, end});
        done = end;
    }
    if (done < text.size()) parts.push_back({nullptr, done, text.size()});
}

}  // namespace narae
