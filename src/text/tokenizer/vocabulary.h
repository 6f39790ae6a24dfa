// The tokens of a tokenizer: text by id and id by text. All texts lie in one arena; the hash table holds ids only.
// Filled once, then immutable and safe to read concurrently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae {

constexpr std::size_t kMaximumVocabulary = std::size_t{1} << 21;
constexpr std::size_t kMaximumTokenBytes = (std::size_t{1} << 24) - 1;

class Vocabulary {
public:
    // Room for tokens, and for the bytes of their texts; more may be added.
    void reserve(std::size_t tokens, std::size_t bytes);
    // Gives the id a text that can be found, or (added tokens that are no part of the model) one that cannot.
    // BadFileError naming `what`: an id out of range, an id that has a text, a text that has an id.
    void add(std::int64_t id, std::string_view text, std::string_view what);
    // add(), but hidden when the text has an id already.
    void add_or_hide(std::int64_t id, std::string_view text, std::string_view what);
    void add_hidden(std::int64_t id, std::string_view text, std::string_view what);
    // Raises size(): the ids between have no text.
    void extend(std::size_t size);

    // One more than the largest id.
    std::int32_t size() const { return static_cast<std::int32_t>(entries_.size()); }
    std::size_t count() const { return count_; }
    bool contains(std::int32_t id) const { return id >= 0 && id < size() && entries_[static_cast<std::size_t>(id)].used; }
    // The id can be found by its text: a token of the model.
    bool is_model_token(std::int32_t id) const { return contains(id) && entries_[static_cast<std::size_t>(id)].findable; }
    // Empty for an id without text.
    std::string_view text(std::int32_t id) const {
        if (!contains(id)) return {};
        const Entry& entry = entries_[static_cast<std::size_t>(id)];
        return {arena_.data() + entry.offset, entry.length};
    }
    // -1 when there is none.
    std::int32_t find(std::string_view text) const { return find_hashed(text, hash_of(text)); }
    // The same for many texts, whose cache misses overlap. ids.size() == texts.size()
    void find_all(std::span<const std::string_view> texts, std::span<std::int32_t> ids) const;

private:
    struct Entry {
        std::uint32_t offset = 0;
        std::uint32_t length : 24 = 0;
        std::uint32_t used : 1 = 0;
        std::uint32_t findable : 1 = 0;
    };
    struct Slot {
        std::uint32_t tag = 0;  // of the hash
        std::int32_t id = -1;
    };

    std::int32_t insert(std::int64_t id, std::string_view text, std::string_view what);
    static std::uint64_t hash_of(std::string_view text);
    std::int32_t find_hashed(std::string_view text, std::uint64_t hash) const;
    Entry& place(std::int64_t id, std::string_view text, std::string_view what);
    void grow(std::size_t slots);

    std::string arena_;
    std::vector<Entry> entries_;
    std::vector<Slot> slots_;  // a power of two, at most 3/4 full, linear probing
    std::size_t count_ = 0, findable_ = 0;
};

// A hash of a word, seeded once per process so that no file can be made to collide.
std::uint64_t hash_word(std::uint64_t word);

}  // namespace narae
