#include "text/tokenizer/token_decoder.h"

#include "base/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/steps.h"
#include "text/unicode.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace narae {
namespace {

constexpr std::string_view kReplacementText = "\uFFFD";

char32_t need_character(std::string_view text, std::string_view key, std::string_view what) {
    if (text.empty() || unicode::decode(text, 0).length != text.size())
        throw_error<BadFileError>("{}: a decoder's '{}' is '{}', need one character", what, key, text);
    return unicode::decode(text, 0).code_point;
}

std::size_t need_count(const Json& json, std::string_view key, std::string_view what) {
    const std::int64_t count = get_int(json, key, what).value_or(0);
    constexpr std::int64_t kMost = 1024;
    if (count < 0 || count > kMost)
        throw_error<BadFileError>("{}: a decoder's '{}' is {}, need 0 to {}", what, key, count, kMost);
    return static_cast<std::size_t>(count);
}

// The length of the longest end of `text` that is a beginning, but not the whole, of `pattern`.
std::size_t open_match(std::string_view text, std::string_view pattern) {
    for (std::size_t length = std::min(text.size(), pattern.size() - 1); length > 0; --length)
        if (pattern.starts_with(text.substr(text.size() - length))) return length;
    return 0;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

int byte_token_value(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    const int high = hex_digit(token[3]), low = hex_digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

DecoderSteps DecoderSteps::parse(const Json& json, std::string_view what) {
    DecoderSteps steps;
    if (json.is_null()) {
        steps.steps_.emplace_back(DecodeJoin{});
    } else {
        steps.add(json, what, 0);
    }
    return steps;
}

void DecoderSteps::add(const Json& json, std::string_view what, int depth) {
    const std::string type = step_type(json, "decoder", depth, what);
    if (type == "Sequence") {
        for (const Json& step : need_array(json, "decoders", what)) add(step, what, depth + 1);
    } else if (type == "ByteLevel") {
        steps_.emplace_back(DecodeByteLevel{});
    } else if (type == "ByteFallback") {
        steps_.emplace_back(DecodeByteFallback{});
    } else if (type == "Fuse") {
        steps_.emplace_back(DecodeFuse{});
    } else if (type == "Replace") {
        StepPattern pattern = need_pattern(json, what);
        std::string content = need_content(json, "content", what);
        if (pattern.is_regex) {
            steps_.emplace_back(DecodeReplaceRegex{std::make_shared<const Regex>(pattern.text, what), std::move(content)});
        } else if (!pattern.text.empty()) {
            steps_.emplace_back(DecodeReplace{std::move(pattern.text), std::move(content)});
        }
    } else if (type == "Strip") {
        steps_.emplace_back(DecodeStrip{need_character(need_string(json, "content", what), "content", what),
                                        need_count(json, "start", what), need_count(json, "stop", what)});
    } else if (type == "Metaspace") {
        const std::string replacement = get_string(json, "replacement", what).value_or("\u2581");
        const std::optional<std::string> scheme = get_string(json, "prepend_scheme", what);
        const bool drop = scheme ? *scheme != "never" : get_bool(json, "add_prefix_space", what).value_or(true);
        steps_.emplace_back(DecodeMetaspace{need_character(replacement, "replacement", what), drop});
    } else {
        unsupported_step("decoder", type, what);
    }
}

TokenDecoder::TokenDecoder(const DecoderSteps& steps) : steps_(&steps), states_(steps.steps().size()) {}

void TokenDecoder::push(std::string_view token, std::string& out) { emit(0, token, out); }

void TokenDecoder::emit(std::size_t stage, std::string_view text, std::string& out) {
    feed(stage, Event::begin, {}, out);
    feed(stage, Event::text, text, out);
    feed(stage, Event::end, {}, out);
}

void TokenDecoder::finish(std::string& out) {
    for (std::size_t stage = 0; stage < states_.size(); ++stage) {
        finish_stage(stage, out);
        states_[stage] = {};
    }
}

void TokenDecoder::feed(std::size_t stage, Event event, std::string_view text, std::string& out) {
    if (stage == states_.size()) {
        out += text;
        return;
    }
    std::visit([&](const auto& s) { step(s, stage, event, text, out); }, steps_->steps()[stage]);
}

void TokenDecoder::finish_stage(std::size_t stage, std::string& out) {
    State& state = states_[stage];
    const DecoderStep& kind = steps_->steps()[stage];
    if (std::holds_alternative<DecodeByteLevel>(kind)) {
        if (!state.bytes.empty()) feed(stage + 1, Event::text, unicode::replace_invalid(state.bytes), out);
        if (state.count > 0) feed(stage + 1, Event::end, {}, out);
    } else if (std::holds_alternative<DecodeByteFallback>(kind)) {
        flush_byte_run(stage, out);
    } else if (std::holds_alternative<DecodeFuse>(kind)) {
        if (state.count > 0) feed(stage + 1, Event::end, {}, out);
    }
}

void TokenDecoder::step(const DecodeByteLevel&, std::size_t stage, Event event, std::string_view text, std::string& out) {
    State& state = states_[stage];
    if (event == Event::begin) {
        if (state.count++ == 0) feed(stage + 1, Event::begin, {}, out);
    } else if (event == Event::text) {
        state.held += text;
    } else {
        state.bytes += byte_level_bytes(state.held);
        state.held.clear();
        const std::size_t complete = unicode::complete_prefix(state.bytes);
        if (complete == 0) return;
        feed(stage + 1, Event::text, unicode::replace_invalid(std::string_view(state.bytes).substr(0, complete)), out);
        state.bytes.erase(0, complete);
    }
}

void TokenDecoder::flush_byte_run(std::size_t stage, std::string& out) {
    State& state = states_[stage];
    if (state.bytes.empty()) return;
    const std::string bytes = std::exchange(state.bytes, {});
    if (unicode::is_valid(bytes)) {
        emit(stage + 1, bytes, out);
    } else {
        for (std::size_t i = 0; i < bytes.size(); ++i) emit(stage + 1, kReplacementText, out);
    }
}

void TokenDecoder::step(const DecodeByteFallback&, std::size_t stage, Event event, std::string_view text, std::string& out) {
    State& state = states_[stage];
    if (event == Event::text) state.held += text;
    if (event != Event::end) return;
    const std::string token = std::exchange(state.held, {});
    if (const int byte = byte_token_value(token); byte >= 0) {
        state.bytes += static_cast<char>(byte);
    } else {
        flush_byte_run(stage, out);
        emit(stage + 1, token, out);
    }
}

void TokenDecoder::step(const DecodeFuse&, std::size_t stage, Event event, std::string_view text, std::string& out) {
    if (event == Event::begin && states_[stage].count++ == 0) feed(stage + 1, event, {}, out);
    if (event == Event::text) feed(stage + 1, event, text, out);
}

void TokenDecoder::step(const DecodeJoin&, std::size_t stage, Event event, std::string_view text, std::string& out) {
    if (event == Event::begin && states_[stage].count++ > 0) emit(stage + 1, " ", out);
    feed(stage + 1, event, text, out);
}

void TokenDecoder::step(const DecodeReplace& replace, std::size_t stage, Event event, std::string_view text, std::string& out) {
    State& state = states_[stage];
    if (event == Event::text) {
        state.held += text;
        std::string done;
        std::size_t begin = 0;
        for (std::size_t at; (at = state.held.find(replace.pattern, begin)) != std::string::npos;) {
            done.append(state.held, begin, at - begin).append(replace.content);
            begin = at + replace.pattern.size();
        }
        state.held.erase(0, begin);
        const std::size_t certain = state.held.size() - open_match(state.held, replace.pattern);
        done.append(state.held, 0, certain);
        state.held.erase(0, certain);
        feed(stage + 1, event, done, out);
        return;
    }
    if (event == Event::end) feed(stage + 1, Event::text, std::exchange(state.held, {}), out);
    feed(stage + 1, event, {}, out);
}

void TokenDecoder::step(const DecodeReplaceRegex& replace, std::size_t stage, Event event, std::string_view text,
                        std::string& out) {
    State& state = states_[stage];
    if (event == Event::text) {
        state.held += text;
        return;
    }
    if (event == Event::end) {
        const std::string token = std::exchange(state.held, {});
        std::string done;
        std::size_t begin = 0;
        replace.pattern->for_each(token, [&](std::size_t match_begin, std::size_t match_end) {
            done.append(token, begin, match_begin - begin).append(replace.content);
            begin = match_end;
        });
        done.append(token, begin);
        feed(stage + 1, Event::text, done, out);
    }
    feed(stage + 1, event, {}, out);
}

void TokenDecoder::step(const DecodeStrip& strip, std::size_t stage, Event event, std::string_view text, std::string& out) {
    State& state = states_[stage];
    if (event == Event::begin) {
        state.count = 0;
        state.leading = true;
        state.held.clear();
    }
    if (event == Event::end) state.held.clear();  // the copies at the end
    if (event != Event::text) {
        feed(stage + 1, event, {}, out);
        return;
    }
    while (state.leading && !text.empty()) {
        const unicode::Decoded d = unicode::decode(text, 0);
        state.leading = d.code_point == strip.content && state.count < strip.start;
        if (!state.leading) break;
        ++state.count;
        text.remove_prefix(d.length);
    }
    state.held += text;
    std::size_t certain = state.held.size();
    for (std::size_t copies = 0; copies < strip.stop && certain > 0; ++copies) {
        const unicode::Decoded d = unicode::decode_before(state.held, certain);
        if (d.code_point != strip.content) break;
        certain -= d.length;
    }
    const std::string done = state.held.substr(0, certain);
    state.held.erase(0, certain);
    feed(stage + 1, event, done, out);
}

void TokenDecoder::step(const DecodeMetaspace& metaspace, std::size_t stage, Event event, std::string_view text,
                        std::string& out) {
    State& state = states_[stage];
    if (event == Event::begin) ++state.count;
    if (event != Event::text) {
        feed(stage + 1, event, {}, out);
        return;
    }
    std::string done;
    for (std::size_t at = 0; at < text.size();) {
        const unicode::Decoded d = unicode::decode(text, at);
        if (d.code_point != metaspace.replacement) {
            done.append(text, at, d.length);
        } else if (!metaspace.drop_first || state.count > 1) {
            done += ' ';
        }
        at += d.length;
    }
    feed(stage + 1, event, done, out);
}

}  // namespace narae
