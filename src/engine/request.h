// What is asked of the engine and what it answers. Plain data.
#pragma once

#include "kernels/sampling.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace narae {

using RequestId = std::uint64_t;

struct Request {
    std::vector<std::int32_t> prompt;  // at least one token
    kernels::SamplingParameters sampling;
    int max_tokens = 0;                 // to generate; 0: until the context is full
    std::vector<std::int32_t> end_ids;  // that end the answer; the end id itself is reported
    bool ignore_end = false;
};

enum class FinishReason : std::uint8_t {
    none,    // goes on
    stop,    // an end id
    length,  // max_tokens or the context's end
    cancelled,
    numeric_error,  // the model's logits were not numbers
};
std::string_view finish_reason_name(FinishReason reason);

// One chosen token, or an end without one (cancelled, numeric_error).
struct Event {
    RequestId request = 0;
    std::int32_t token = -1;  // -1: none
    FinishReason finish = FinishReason::none;
};

}  // namespace narae
