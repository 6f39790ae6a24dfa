#include "text/tokenizer/vocabulary.h"

#include "base/error.h"

#include <algorithm>
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

std::uint64_t Vocabulary::hash_of(std::string_view text) {
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
        std::size_t at = hash_of(text(slot.id)) & mask;
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

// Returns the id that the text has already, or -1 when it was added.
std::int32_t Vocabulary::insert(std::int64_t id, std::string_view text, std::string_view what) {
    if ((findable_ + 1) * 4 > slots_.size() * 3) grow(std::max<std::size_t>(16, slots_.size() * 2));
    const std::uint64_t hash = hash_of(text);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (; slots_[at].id >= 0; at = (at + 1) & mask)
        if (slots_[at].tag == tag && this->text(slots_[at].id) == text) return slots_[at].id;
    place(id, text, what).findable = 1;
    slots_[at] = {tag, static_cast<std::int32_t>(id)};
    ++findable_;
    return -1;
}

void Vocabulary::add(std::int64_t id, std::string_view text, std::string_view what) {
    const std::int32_t known = insert(id, text, what);
    if (known >= 0) throw_error<BadFileError>("{}: the token '{}' has two ids, {} and {}", what, text, known, id);
}

void Vocabulary::add_or_hide(std::int64_t id, std::string_view text, std::string_view what) {
    if (insert(id, text, what) >= 0) add_hidden(id, text, what);
}

void Vocabulary::add_hidden(std::int64_t id, std::string_view text, std::string_view what) { place(id, text, what); }

void Vocabulary::extend(std::size_t size) {
    NARAE_CHECK(size <= kMaximumVocabulary, "size {}", size);
    if (size > entries_.size()) entries_.resize(size);
}

std::int32_t Vocabulary::find_hashed(std::string_view text, std::uint64_t hash) const {
    if (slots_.empty()) return -1;
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask)
        if (slots_[at].tag == tag && this->text(slots_[at].id) == text) return slots_[at].id;
    return -1;
}

void Vocabulary::find_all(std::span<const std::string_view> texts, std::span<std::int32_t> ids) const {
    NARAE_CHECK(texts.size() == ids.size(), "texts {} ids {}", texts.size(), ids.size());
    if (slots_.empty()) {
        std::fill(ids.begin(), ids.end(), -1);
        return;
    }
    constexpr std::size_t kTogether = 16;
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t hashes[kTogether];
    for (std::size_t first = 0; first < texts.size(); first += kTogether) {
        const std::size_t count = std::min(kTogether, texts.size() - first);
        for (std::size_t i = 0; i < count; ++i) {
            hashes[i] = hash_of(texts[first + i]);
            __builtin_prefetch(&slots_[hashes[i] & mask]);
        }
        const auto likely = [&](std::size_t i) { return slots_[hashes[i] & mask].id; };
        for (std::size_t i = 0; i < count; ++i)
            if (likely(i) >= 0) __builtin_prefetch(&entries_[static_cast<std::size_t>(likely(i))]);
        for (std::size_t i = 0; i < count; ++i)
            if (likely(i) >= 0) __builtin_prefetch(text(likely(i)).data());
        for (std::size_t i = 0; i < count; ++i) ids[first + i] = find_hashed(texts[first + i], hashes[i]);
    }
}

}  // namespace narae
