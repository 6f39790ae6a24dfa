#include "kernels/ref/kv_storage.h"

#include "base/error.h"
#include "tensor/scalar.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

namespace narae::kernels::ref {

void RefKvStorage::reserve_blocks(std::int64_t count) {
    if (count <= blocks_) return;
    try {
        bytes_.resize(static_cast<std::size_t>(count * group().block_bytes()));
    } catch (const std::bad_alloc&) {
        throw_error<ResourceError>("KV cache: found no memory for {} blocks of {} bytes; try a shorter context", count,
                                   group().block_bytes());
    } catch (const std::length_error&) {
        throw_error<ResourceError>("KV cache: {} blocks of {} bytes exceed the address space; try a shorter context", count,
                                   group().block_bytes());
    }
    blocks_ = count;
}

std::size_t RefKvStorage::place(int layer, KvPart part, std::int32_t block, int offset, int kv_head) const {
    const KvGroup& g = group();
    NARAE_CHECK(block >= 0 && block < blocks_, "KV block {} of {}", block, blocks_);
    NARAE_CHECK(layer >= 0 && layer < g.layers && offset >= 0 && offset < kBlockTokens, "KV layer {}, offset {}", layer,
                offset);
    std::int64_t index = std::int64_t{block} * g.layers + layer;
    index = index * 2 + (part == KvPart::value);
    index = (index * kBlockTokens + offset) * g.kv_heads + kv_head;
    return static_cast<std::size_t>(index * g.head_dim * kv_type_bytes(g.type));
}

void RefKvStorage::store(int layer, KvPart part, std::int32_t block, int offset, int kv_head, const float* values) {
    std::byte* to = &bytes_[place(layer, part, block, offset, kv_head)];
    for (int i = 0; i < group().head_dim; ++i) {
        if (group().type == KvType::f32) {
            std::memcpy(to + i * 4, &values[i], 4);
        } else {
            const std::uint16_t bits = group().type == KvType::f16 ? to_half(values[i]).bits : to_bfloat16(values[i]).bits;
            std::memcpy(to + i * 2, &bits, 2);
        }
    }
}

void RefKvStorage::load(int layer, KvPart part, std::int32_t block, int offset, int kv_head, float* values) const {
    const std::byte* from = &bytes_[place(layer, part, block, offset, kv_head)];
    for (int i = 0; i < group().head_dim; ++i) {
        if (group().type == KvType::f32) {
            std::memcpy(&values[i], from + i * 4, 4);
        } else {
            std::uint16_t bits = 0;
            std::memcpy(&bits, from + i * 2, 2);
            values[i] = group().type == KvType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
        }
    }
}

void RefKvStorage::copy_block(std::int32_t from, std::int32_t to) {
    const auto bytes = group().block_bytes();
    NARAE_CHECK(from >= 0 && from < blocks_ && to >= 0 && to < blocks_, "KV blocks {} and {} of {}", from, to, blocks_);
    std::copy_n(bytes_.begin() + from * bytes, bytes, bytes_.begin() + to * bytes);
}

}  // namespace narae::kernels::ref
