// What the writers share.
#pragma once

#include "checkpoint/checkpoint.h"
#include "tensor/tensor.h"

#include <functional>
#include <span>

namespace narae {

// UsageError when two weights have one name, a weight has no elements in whole blocks, or there are none.
void check_weights_to_save(const CheckpointToSave& contents);

// Produces weights one at a time into one buffer.
class WeightProducer {
public:
    // The bytes are valid until the next call.
    std::span<const std::byte> produce(const WeightToSave& weight);

private:
    Buffer buffer_;
};

}  // namespace narae
