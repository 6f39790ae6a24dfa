#include "text/unicode.h"

#include "base/error.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace narae::unicode {
namespace {

bool is_ascii(std::string_view text) {
    std::size_t at = 0;
    for (; at + 8 <= text.size(); at += 8) {
        std::uint64_t word;
        std::memcpy(&word, text.data() + at, 8);
        if (word & 0x8080808080808080u) return false;
    }
    for (; at < text.size(); ++at)
        if (text[at] & 0x80) return false;
    return true;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_ascii_letter(char32_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

// Characters that stand in any order beside any others of these ranges without NFC changing them (a sufficient test).
bool is_plain_nfc(char32_t c) {
    return c < 0x300 || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0x4E00 && c <= 0x9FFF) ||
           (c >= 0x3040 && c <= 0x30FF && c != 0x3099 && c != 0x309A);
}

bool is_normal_already(std::string_view text, NormalForm form) {
    if (is_ascii(text)) return true;
    if (form != NormalForm::nfc) return false;
    for (std::size_t at = 0; at < text.size();) {
        const Decoded d = decode(text, at);
        if (!is_plain_nfc(d.code_point)) return false;
        at += d.length;
    }
    return true;
}

// utf8proc orders the marks of a run by insertion, which is quadratic in the run; a stable sort is not.
void order_marks(std::vector<utf8proc_int32_t>& points) {
    struct Mark {
        int combining_class;
        utf8proc_int32_t point;
    };
    std::vector<Mark> run;
    const auto class_of = [](utf8proc_int32_t point) {
        return point < 0x300 ? 0 : static_cast<int>(utf8proc_get_property(point)->combining_class);
    };
    for (std::size_t at = 0; at < points.size();) {
        run.clear();
        std::size_t end = at;
        for (int value; end < points.size() && (value = class_of(points[end])) != 0; ++end) run.push_back({value, points[end]});
        if (run.size() > 1) {
            std::stable_sort(run.begin(), run.end(),
                             [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
            for (std::size_t i = 0; i < run.size(); ++i) points[at + i] = run[i].point;
        }
        at = end + 1;
    }
}

}  // namespace

Decoded decode(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return {first, 1};
    std::uint32_t length = 0;
    unsigned char low = 0x80, high = 0xBF;  // what the second byte may be (Unicode, table 3-7)
    char32_t point = 0;
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2, point = first & 0x1F;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3, point = first & 0x0F;
        if (first == 0xE0) low = 0xA0;
        if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4, point = first & 0x07;
        if (first == 0xF0) low = 0x90;
        if (first == 0xF4) high = 0x8F;
    } else {
        return {kReplacement, 1};
    }
    for (std::uint32_t i = 1; i < length; ++i) {
        if (at + i >= text.size() || byte(i) < low || byte(i) > high) return {kReplacement, i};
        point = point << 6 | (byte(i) & 0x3F);
        low = 0x80, high = 0xBF;
    }
    return {point, length};
}

Decoded decode_before(std::string_view text, std::size_t end) {
    std::size_t at = end - 1;
    while (at > 0 && end - at < 4 && (text[at] & 0xC0) == 0x80) --at;
    return {decode(text.substr(0, end), at).code_point, static_cast<std::uint32_t>(end - at)};
}

void append(std::string& text, char32_t c) {
    const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
    }
}

std::size_t valid_prefix(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        std::uint64_t word;
        if (at + 8 <= text.size() && (std::memcpy(&word, text.data() + at, 8), (word & 0x8080808080808080u) == 0)) {
            at += 8;
            continue;
        }
        const Decoded d = decode(text, at);
        // U+FFFD itself is three bytes and begins with EF; an invalid part is never both.
        if (d.code_point == kReplacement && !(d.length == 3 && text[at] == '\xEF')) return at;
        at += d.length;
    }
    return at;
}

bool is_valid(std::string_view text) { return valid_prefix(text) == text.size(); }

std::size_t complete_prefix(std::string_view text) {
    const std::size_t from = text.size() > 3 ? text.size() - 3 : 0;
    for (std::size_t at = from; at < text.size(); ++at) {
        const auto first = static_cast<unsigned char>(text[at]);
        if (first < 0xC2 || first > 0xF4) continue;
        const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        // Open when everything up to the end belongs to it and more would be needed.
        if (at + length > text.size() && decode(text, at).length == text.size() - at) return at;
    }
    return text.size();
}

std::string replace_invalid(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t good = valid_prefix(text);
        out.append(text.substr(0, good));
        text.remove_prefix(good);
        if (text.empty()) break;
        append(out, kReplacement);
        text.remove_prefix(decode(text, 0).length);
    }
    return out;
}

bool is_whitespace(char32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool is_letter(char32_t c) {
    if (c < 0x80) return is_ascii_letter(c);
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_mark(char32_t c) {
    if (c < 0x300) return false;
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool is_number(char32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_symbol(char32_t c) {
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_SM && k <= UTF8PROC_CATEGORY_SO;
}

bool is_control(char32_t c) {
    const utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CN || k >= UTF8PROC_CATEGORY_CC;
}

bool is_word(char32_t c) {
    if (c < 0x80) return is_ascii_letter(c) || (c >= '0' && c <= '9') || c == '_';
    switch (category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        default:  // Alphabetic symbols (circled and squared letters) and the joiners
            return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
                   (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C || c == 0x200D;
    }
}

std::string normalize(std::string_view text, NormalForm form) {
    if (is_normal_already(text, form)) return std::string(text);
    const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
    const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                                        (compatible ? UTF8PROC_COMPAT : 0));
    // Decomposed forms have at most 18 characters, of which U+FDFA is the longest.
    constexpr utf8proc_ssize_t kLongest = 32;
    std::vector<utf8proc_int32_t> points;
    points.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const Decoded d = decode(text, at);
        at += d.length;
        if (d.code_point < 0x80) {
            points.push_back(static_cast<utf8proc_int32_t>(d.code_point));
            continue;
        }
        utf8proc_int32_t buffer[kLongest];
        int last_class = 0;
        const auto decomposing = static_cast<utf8proc_option_t>((options & ~UTF8PROC_COMPOSE) | UTF8PROC_DECOMPOSE);
        const utf8proc_ssize_t count =
            utf8proc_decompose_char(static_cast<utf8proc_int32_t>(d.code_point), buffer, kLongest, decomposing, &last_class);
        NARAE_CHECK(count >= 0 && count <= kLongest, "count {}", count);
        points.insert(points.end(), buffer, buffer + count);
    }
    order_marks(points);
    auto length = static_cast<utf8proc_ssize_t>(points.size());
    if (compose) length = utf8proc_normalize_utf32(points.data(), length, options);
    std::string out;
    out.reserve(text.size());
    for (utf8proc_ssize_t i = 0; i < length; ++i) append(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
    return out;
}

std::string lowercase(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const Decoded d = decode(text, at);
        at += d.length;
        if (d.code_point == 0x130) {  // the one character whose lower case is two
            out += "i\xCC\x87";
        } else {
            append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(d.code_point))));
        }
    }
    return out;
}

int display_width(std::string_view text) {
    int columns = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = next_grapheme(text, at);
        int width = 0, regional = 0;
        while (at < end) {
            const Decoded d = decode(text, at);
            at += d.length;
            width = std::max(width, utf8proc_charwidth(static_cast<utf8proc_int32_t>(d.code_point)));
            regional += d.code_point >= 0x1F1E6 && d.code_point <= 0x1F1FF;
            if (d.code_point == 0xFE0F) width = 2;  // shown as an emoji
        }
        columns += regional == 2 ? 2 : width;
    }
    return columns;
}

std::size_t next_grapheme(std::string_view text, std::size_t at) {
    if (at >= text.size()) return text.size();
    Decoded before = decode(text, at);
    at += before.length;
    utf8proc_int32_t state = 0;
    while (at < text.size()) {
        const Decoded next = decode(text, at);
        if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before.code_point),
                                             static_cast<utf8proc_int32_t>(next.code_point), &state))
            break;
        at += next.length;
        before = next;
    }
    return at;
}

std::size_t previous_grapheme(std::string_view text, std::size_t at) {
    // Whether a border lies between two characters can depend on all before them (flags), so the search starts at 0.
    std::size_t border = 0;
    for (std::size_t next = 0; next < at; next = next_grapheme(text, next)) border = next;
    return border;
}

}  // namespace narae::unicode
