#include "eval/protocol.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <utility>

namespace narae::eval {
namespace {

constexpr std::array<std::pair<Protocol, std::string_view>, 3> kNames = {
    {{Protocol::gptq_2048, "gptq-2048"}, {Protocol::llamacpp_512, "llama.cpp-512"}, {Protocol::hf_strided, "hf-strided"}}};

constexpr std::string_view kBlank = " \t\r\f\v";

}  // namespace

std::string_view protocol_name(Protocol protocol) { return kNames[static_cast<std::size_t>(protocol)].second; }

std::optional<Protocol> find_protocol(std::string_view name) {
    for (const auto& [protocol, known] : kNames)
        if (name == known) return protocol;
    return std::nullopt;
}

ProtocolSettings protocol_settings(Protocol protocol, int window, int stride, int model_context, bool tokenizer_adds_bos) {
    ProtocolSettings s;
    s.protocol = protocol;
    const int own = protocol == Protocol::gptq_2048 ? 2048 : protocol == Protocol::llamacpp_512 ? 512 : model_context;
    s.window = window > 0 ? window : own;
    // A window of llama.cpp's must leave a target in its second half.
    const int least = protocol == Protocol::llamacpp_512 ? 4 : 2;
    if (s.window < least)
        throw_error<UsageError>("--window {}: {} needs at least {} tokens", s.window, protocol_name(protocol), least);
    if (protocol == Protocol::hf_strided) {
        s.stride = stride > 0 ? stride : std::min(512, s.window);
        if (s.stride > s.window)
            throw_error<UsageError>("--stride {}: more than the window of {} would leave tokens out; need at most the window",
                                    s.stride, s.window);
    } else {
        if (stride > 0)
            throw_error<UsageError>("--stride {}: the windows of {} do not overlap; --stride goes with --protocol hf-strided",
                                    stride, protocol_name(protocol));
        s.stride = s.window;
    }
    s.rows = protocol == Protocol::llamacpp_512 ? Rows::whole : Rows::lines;
    s.parse_special = protocol != Protocol::llamacpp_512;
    s.bos_in_each_window = protocol == Protocol::llamacpp_512 && tokenizer_adds_bos;
    return s;
}

std::vector<Window> cut_windows(const ProtocolSettings& s, std::int64_t tokens, int chunks) {
    std::vector<Window> windows;
    const auto more = [&] { return chunks <= 0 || windows.size() < static_cast<std::size_t>(chunks); };
    if (s.protocol == Protocol::hf_strided) {
        std::int64_t seen = 0;
        for (std::int64_t begin = 0; more() && seen < tokens; begin += s.stride) {
            const std::int64_t end = std::min(begin + s.window, tokens);
            Window w;
            w.begin = begin;
            w.length = static_cast<int>(end - begin);
            const int fresh = static_cast<int>(end - seen);
            w.first_target = std::max(1, w.length - fresh);
            w.weight = fresh - 1;
            if (w.targets() > 0) windows.push_back(w);
            seen = end;
        }
        if (windows.empty())
            throw_error<UsageError>("the text has {} tokens, {} needs at least 2", tokens, protocol_name(s.protocol));
        return windows;
    }
    for (std::int64_t begin = 0; more() && begin + s.window <= tokens; begin += s.window) {
        Window w;
        w.begin = begin;
        w.length = s.window;
        // Positions from window / 2 on predict: their targets are one further.
        w.first_target = s.protocol == Protocol::llamacpp_512 ? s.window / 2 + 1 : 1;
        w.weight = s.protocol == Protocol::llamacpp_512 ? w.targets() : s.window;
        windows.push_back(w);
    }
    if (windows.empty())
        throw_error<UsageError>(
            "the text has {} tokens, {} needs a whole window of {}; give a longer text or a smaller --window", tokens,
            protocol_name(s.protocol), s.window);
    return windows;
}

std::vector<std::size_t> places_of_targets(std::span<const Window> windows, std::size_t first) {
    std::vector<std::size_t> places = {first};
    for (const Window& window : windows) places.push_back(places.back() + static_cast<std::size_t>(window.targets()));
    return places;
}

std::string join_lines(std::string_view text) {
    std::string joined;
    bool first = true;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end);
        if (!first) joined += "\n\n";
        first = false;
        const std::string_view letters = line.substr(0, line.find_last_not_of('\n') + 1);
        if (letters.find_first_not_of(kBlank) != std::string_view::npos) joined += line;
    }
    return joined;
}

}  // namespace narae::eval
