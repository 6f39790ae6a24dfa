// Memory of packed weights: cut in the order of preparation out of large pieces with huge pages, so that the weights of a step
// lie behind each other as they are read. A piece is freed with the last weight in it.
#pragma once

#include "tensor/tensor.h"

#include <cstddef>
#include <memory>

namespace narae::kernels::cpu {

class WeightMemory {
public:
    struct Taken {
        std::shared_ptr<Buffer> piece;  // keeps the memory
        std::byte* data = nullptr;      // zeroed, aligned to 64 bytes
    };
    Taken take(std::size_t bytes) {
        constexpr std::size_t kPiece = std::size_t{16} << 20, kLarge = std::size_t{4} << 20;
        if (bytes >= kLarge) {
            auto own = std::make_shared<Buffer>(bytes);
            std::byte* data = own->data();
            return {std::move(own), data};
        }
        const std::size_t rounded = (bytes + 63) / 64 * 64;
        if (!piece_ || piece_->size() - used_ < rounded) {
            piece_ = std::make_shared<Buffer>(kPiece);
            used_ = 0;
        }
        std::byte* data = piece_->data() + used_;
        used_ += rounded;
        return {piece_, data};
    }

private:
    std::shared_ptr<Buffer> piece_;
    std::size_t used_ = 0;
};

}  // namespace narae::kernels::cpu
