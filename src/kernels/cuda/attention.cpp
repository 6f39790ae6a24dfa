// Which kernels a call of attention() takes.
#include "kernels/cuda/attention_call.h"

#include "base/error.h"

namespace narae::kernels::cuda {
namespace {

bool reached_by_16_bytes(const Matrix& m) {
    const std::int64_t element = m.dtype == DType::f32 ? 4 : 2;
    return reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0 && m.stride * element % 16 == 0;
}

}  // namespace

void attention(const Stream& stream, const BatchView& batch, const std::int32_t* host_row_begin, const Matrix& q,
               const AttentionParameters& parameters, const KvView& kv, const Matrix& out, bool exact, std::byte* scratch) {
    NARAE_CHECK(parameters.heads > 0 && parameters.heads % kv.kv_heads == 0, "{} heads over {} kv heads", parameters.heads,
                kv.kv_heads);
    if (batch.rows == 0) return;
    const Attention a{.batch = batch,
                      .q = q,
                      .out = out,
                      .kv = kv,
                      .heads = parameters.heads,
                      .group = parameters.heads / kv.kv_heads,
                      .scale = parameters.scale,
                      .soft_cap = parameters.soft_cap,
                      .slopes = parameters.alibi_slopes.as<const float>(),
                      .sinks = parameters.sinks.as<const float>()};
    const bool tensor_cores = !exact && kv.type != KvType::f32 && kv.head_dim % 8 == 0 && kv.head_dim <= 256 &&
                              reached_by_16_bytes(q) && reached_by_16_bytes(out);
    if (!tensor_cores) return attend_generic(stream, a);
    if (batch.rows == batch.sequences) return attend_single_rows(stream, a, scratch);
    for (int s = 0; s < batch.sequences; ++s)
        if (host_row_begin[s + 1] - host_row_begin[s] == 1) {
            attend_single_rows(stream, a, scratch);
            break;
        }
    attend_row_tiles(stream, a, host_row_begin);
}

}  // namespace narae::kernels::cuda
