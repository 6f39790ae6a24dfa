#include "text/tokenizer/normalizer.h"

#include "base/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/steps.h"

#include <utility>

namespace narae {
namespace {

constexpr std::size_t kLongestNormalized = std::size_t{1} << 31;

bool all_trusted(std::string_view trust) { return trust.find('\0') == std::string_view::npos; }

// Rewrites a text part by part, carrying the trust of each part along.
class Rewriter {
public:
    explicit Rewriter(TrustedText& text) : source_(text) {}

    std::string_view source() const { return source_.text; }
    void keep(std::size_t begin, std::size_t end) {
        out_.text.append(source_.text, begin, end - begin);
        if (!source_.trust.empty()) out_.trust.append(source_.trust, begin, end - begin);
    }
    void replace(std::size_t begin, std::size_t end, std::string_view with) {
        if (out_.text.size() > kLongestNormalized)
            throw_error<ResourceError>("the tokenizer's normalizer makes more than {} bytes of this text", kLongestNormalized);
        out_.text.append(with);
        if (!source_.trust.empty())
            out_.trust.append(with.size(),
                              all_trusted(std::string_view(source_.trust).substr(begin, end - begin)) ? '\1' : '\0');
    }
    ~Rewriter() { source_ = std::move(out_); }
    Rewriter(const Rewriter&) = delete;
    Rewriter& operator=(const Rewriter&) = delete;

private:
    TrustedText& source_;
    TrustedText out_;
};

template <class Each>
void for_each_character(std::string_view text, Each&& each) {
    for (std::size_t at = 0; at < text.size();) {
        const unicode::Decoded d = unicode::decode(text, at);
        each(d.code_point, at, at + d.length);
        at += d.length;
    }
}

void apply_step(const UnicodeForm& step, TrustedText& text) {
    if (text.trust.empty()) {
        text.text = unicode::normalize(text.text, step.form);
        return;
    }
    // An ASCII character never joins what stands before it, so a text may be normalized from one to the next alone.
    Rewriter rewriter(text);
    const std::string_view source = rewriter.source();
    for (std::size_t begin = 0; begin < source.size();) {
        std::size_t end = begin + 1;
        while (end < source.size() && (source[end] & 0x80)) ++end;
        const std::string_view part = source.substr(begin, end - begin);
        const std::string normal = unicode::normalize(part, step.form);
        if (normal == part) {
            rewriter.keep(begin, end);
        } else {
            rewriter.replace(begin, end, normal);
        }
        begin = end;
    }
}

void apply_step(const Lowercase&, TrustedText& text) {
    Rewriter rewriter(text);
    for_each_character(rewriter.source(), [&](char32_t, std::size_t begin, std::size_t end) {
        rewriter.replace(begin, end, unicode::lowercase(rewriter.source().substr(begin, end - begin)));
    });
}

void apply_step(const StripAccents&, TrustedText& text) {
    Rewriter rewriter(text);
    for_each_character(rewriter.source(), [&](char32_t c, std::size_t begin, std::size_t end) {
        if (!unicode::is_mark(c)) rewriter.keep(begin, end);
    });
}

void apply_step(const RemoveControls&, TrustedText& text) {
    Rewriter rewriter(text);
    for_each_character(rewriter.source(), [&](char32_t c, std::size_t begin, std::size_t end) {
        if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return;
        const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
        if (space) {
            rewriter.replace(begin, end, " ");
        } else {
            rewriter.keep(begin, end);
        }
    });
}

void apply_step(const ByteLevelCharacters&, TrustedText& text) {
    Rewriter rewriter(text);
    std::string character;
    for (std::size_t at = 0; at < rewriter.source().size(); ++at) {
        character.clear();
        append_byte_level(character, rewriter.source().substr(at, 1));
        rewriter.replace(at, at + 1, character);
    }
}

void apply_step(const StripWhitespace& step, TrustedText& text) {
    std::size_t begin = 0, end = text.text.size();
    while (step.left && begin < end) {
        const unicode::Decoded d = unicode::decode(text.text, begin);
        if (!unicode::is_whitespace(d.code_point)) break;
        begin += d.length;
    }
    while (step.right && begin < end) {
        const unicode::Decoded d = unicode::decode_before(text.text, end);
        if (!unicode::is_whitespace(d.code_point)) break;
        end -= d.length;
    }
    Rewriter(text).keep(begin, end);
}

void apply_step(const PrependText& step, TrustedText& text) {
    if (text.text.empty()) return;
    text.text.insert(0, step.text);
    if (!text.trust.empty()) text.trust.insert(0, step.text.size(), '\1');
}

void apply_step(const ReplaceText& step, TrustedText& text) {
    if (text.text.find(step.pattern) == std::string::npos) return;
    Rewriter rewriter(text);
    const std::string_view source = rewriter.source();
    std::size_t begin = 0;
    for (std::size_t at; (at = source.find(step.pattern, begin)) != std::string_view::npos;) {
        rewriter.keep(begin, at);
        begin = at + step.pattern.size();
        rewriter.replace(at, begin, step.content);
    }
    rewriter.keep(begin, source.size());
}

void apply_step(const ReplaceRegex& step, TrustedText& text) {
    Rewriter rewriter(text);
    std::size_t done = 0;
    step.pattern.for_each(rewriter.source(), [&](std::size_t begin, std::size_t end) {
        rewriter.keep(done, begin);
        rewriter.replace(begin, end, step.content);
        done = end;
    });
    rewriter.keep(done, rewriter.source().size());
}

}  // namespace

Normalizer Normalizer::parse(const Json& json, std::string_view what) {
    Normalizer normalizer;
    if (!json.is_null()) normalizer.add(json, what, 0);
    return normalizer;
}

void Normalizer::add(const Json& json, std::string_view what, int depth) {
    const std::string type = step_type(json, "normalizer", depth, what);
    const auto add_form = [&](unicode::NormalForm form) { steps_.emplace_back(UnicodeForm{form}); };
    if (type == "Sequence") {
        for (const Json& step : need_array(json, "normalizers", what)) add(step, what, depth + 1);
    } else if (type == "NFC") {
        add_form(unicode::NormalForm::nfc);
    } else if (type == "NFD") {
        add_form(unicode::NormalForm::nfd);
    } else if (type == "NFKC") {
        add_form(unicode::NormalForm::nfkc);
    } else if (type == "NFKD") {
        add_form(unicode::NormalForm::nfkd);
    } else if (type == "Lowercase") {
        steps_.emplace_back(Lowercase{});
    } else if (type == "StripAccents") {
        steps_.emplace_back(StripAccents{});
    } else if (type == "Nmt") {
        steps_.emplace_back(RemoveControls{});
    } else if (type == "ByteLevel") {
        steps_.emplace_back(ByteLevelCharacters{});
    } else if (type == "Strip") {
        steps_.emplace_back(StripWhitespace{get_bool(json, "strip_left", what).value_or(true),
                                            get_bool(json, "strip_right", what).value_or(true)});
    } else if (type == "Prepend") {
        steps_.emplace_back(PrependText{need_content(json, "prepend", what)});
    } else if (type == "Replace") {
        StepPattern pattern = need_pattern(json, what);
        std::string content = need_content(json, "content", what);
        if (pattern.is_regex) {
            steps_.emplace_back(ReplaceRegex{Regex(pattern.text, what), std::move(content)});
        } else if (!pattern.text.empty()) {
            steps_.emplace_back(ReplaceText{std::move(pattern.text), std::move(content)});
        }
    } else {
        unsupported_step("normalizer", type, what);
    }
}

void Normalizer::apply(TrustedText& text) const {
    for (const NormalizerStep& step : steps_) std::visit([&](const auto& s) { apply_step(s, text); }, step);
}

}  // namespace narae
