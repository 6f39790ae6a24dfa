#include "kernels/batch.h"

#include "base/error.h"

namespace narae::kernels {

int kv_type_bytes(KvType type) {
    switch (type) {
        case KvType::f32:
            return 4;
        case KvType::f16:
        case KvType::bf16:
            return 2;
    }
    NARAE_CHECK(false, "KV type {}", static_cast<int>(type));
}

}  // namespace narae::kernels
