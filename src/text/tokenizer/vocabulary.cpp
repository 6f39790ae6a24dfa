#include "text/tokenizer/vocabulary.h"

#include "base/error.h"

#include <bit>
#include <cstring>
#include <random>

namespace narae {
namespace {

std::uint64_t process_seed() {
    static const std::uint64_t seed = [] {
        std::random_device device;
        return std::uint64_t{device()} << 32 | device();
    }();
    return seed;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kFirst = 0x9E3779B97F4A7C15u, kSecond = 0xD6E8FEB86659FD93u;

}  // namespace

std::uint64_t hash_bytes(std::string_view text) {
    std::uint64_t hash = process_seed() ^ text.size() * kSecond;
    while (text.size() >= 8) {
        std::uint64_t word;
        std::memcpy(&word, text.data(), 8);
        hash = mix(hash ^ word, kFirst);
        text.remove_prefix(8);
    }
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), text.size());
    return mix(hash ^ word, kSecond);
}

std::uint64_t hash_word(std::uint64_t word) { return mix(word ^ process_seed(), kFirst); }

void Vocabulary::reserve(std::size_t tokens, std::size_t bytes) {
    arena_.reserve(bytes);
    entries_.reserve(tokens);
    grow(std::bit_ceil(tokens + tokens / 3 + 16));
}

void Vocabulary::grow(std::size_t size) {
    if (size <= slots_.size()) return;
    std::vector<Slot> before(size);
    before.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& slot : before) {
        if (slot.id < 0) continue;
        std::size_t at = hash_bytes(text(slot.id)) & mask;
        while (slots_[at].id >= 0) at = (at + 1) & mask;
        slots_[at] = slot;
    }
}

Vocabulary::Entry& Vocabulary::place(std::int64_t id, std::string_view text, std::string_view what) {
    if (id < 0 || id >= static_cast<std::int64_t>(kMaximumVocabulary))
        throw_error<BadFileError>("{}: token id {} is out of range, need 0 to {}", what, id, kMaximumVocabulary - 1);
    if (text.size() > kMaximumTokenBytes || arena_.size() + text.size() > UINT32_MAX)
        throw_error<BadFileError>("{}: token {} has {} bytes, more than a vocabulary can hold", what, id, text.size());
    const auto index = static_cast<std::size_t>(id);
    if (index >= entries_.size()) entries_.resize(index + 1);
    Entry& entry = entries_[index];
    if (entry.used)
        throw_error<BadFileError>("{}: two tokens have the id {}: '{}' and '{}'", what, id,
                                  this->text(static_cast<std::int32_t>(id)), text);
    entry.offset = static_cast<std::uint32_t>(arena_.size());
    entry.length = static_cast<std::uint32_t>(text.size()) & 0xFFFFFF;
    entry.used = 1;
    arena_.append(text);
    ++count_;
    return entry;
}

void Vocabulary::add(std::int64_t id, std::string_view text, std::string_view what) {
    if ((findable_ + 1) * 4 > slots_.size() * 3) grow(std::max<std::size_t>(16, slots_.size() * 2));
    const std::uint64_t hash = hash_bytes(text);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (; slots_[at].id >= 0; at = (at + 1) & mask)
        if (slots_[at].tag == tag && this->text(slots_[at].id) == text)
            throw_error<BadFileError>("{}: the token '{}' has two ids, {} and {}", what, text, slots_[at].id, id);
    place(id, text, what).findable = 1;
    slots_[at] = {tag, static_cast<std::int32_t>(id)};
    ++findable_;
}

void Vocabulary::add_hidden(std::int64_t id, std::string_view text, std::string_view what) { place(id, text, what); }

void Vocabulary::extend(std::size_t size) {
    NARAE_CHECK(size <= kMaximumVocabulary, "size {}", size);
    if (size > entries_.size()) entries_.resize(size);
}

std::int32_t Vocabulary::find(std::string_view text) const {
    if (slots_.empty()) return -1;
    const std::uint64_t hash = hash_bytes(text);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask)
        if (slots_[at].tag == tag && this->text(slots_[at].id) == text) return slots_[at].id;
    return -1;
}

}  // namespace narae
