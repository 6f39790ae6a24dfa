#include "kernels/cuda/blas.h"

#include "base/error.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace narae::kernels::cuda {
namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";

std::vector<std::string> candidates() {
    std::vector<std::string> names = {kLibrary};
    for (const char* pattern :
         {"/usr/local/cuda/lib64/", "/usr/local/cuda-13*/lib64/", "/usr/lib/x86_64-linux-gnu/",
          "/usr/local/lib/python3*/*-packages/nvidia/*/lib/", "/usr/lib/python3*/*-packages/nvidia/*/lib/",
          "/opt/*/lib/python3*/site-packages/nvidia/*/lib/", "/opt/*/.venv/lib/python3*/site-packages/nvidia/*/lib/"}) {
        glob_t found{};
        if (glob((std::string(pattern) + kLibrary).c_str(), 0, nullptr, &found) == 0)
            for (std::size_t i = 0; i < found.gl_pathc; ++i) names.emplace_back(found.gl_pathv[i]);
        globfree(&found);
    }
    return names;
}

}  // namespace

struct Blas::State {
    void* library = nullptr;
    cublasLtHandle_t handle = nullptr;

    decltype(&cublasLtCreate) create = nullptr;
    decltype(&cublasLtDestroy) destroy = nullptr;
    decltype(&cublasLtMatmul) matmul = nullptr;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
    decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
    decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;

    // A product's shape; what cuBLASLt prepares for it lives as long as this.
    using Key = std::array<std::int64_t, 8>;
    struct Plan {
        cublasLtMatmulDesc_t desc = nullptr;
        cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
        cublasLtMatmulPreference_t preference = nullptr;
        cublasLtMatmulAlgo_t algorithm{};
    };
    std::map<Key, Plan> plans;

    ~State() {
        for (auto& [key, plan] : plans) release(plan);
        if (handle) destroy(handle);
        if (library) dlclose(library);
    }
    void release(Plan& plan) const {
        if (plan.preference) preference_destroy(plan.preference);
        if (plan.w) layout_destroy(plan.w);
        if (plan.x) layout_destroy(plan.x);
        if (plan.y) layout_destroy(plan.y);
        if (plan.desc) desc_destroy(plan.desc);
    }

    template <class Function>
    bool find(const char* name, Function& function) const {
        function = reinterpret_cast<Function>(dlsym(library, name));
        return function != nullptr;
    }
    bool find_all() {
        return find("cublasLtCreate", create) && find("cublasLtDestroy", destroy) && find("cublasLtMatmul", matmul) &&
               find("cublasLtMatmulAlgoGetHeuristic", heuristic) && find("cublasLtMatmulDescCreate", desc_create) &&
               find("cublasLtMatmulDescDestroy", desc_destroy) && find("cublasLtMatmulDescSetAttribute", desc_set) &&
               find("cublasLtMatrixLayoutCreate", layout_create) && find("cublasLtMatrixLayoutDestroy", layout_destroy) &&
               find("cublasLtMatmulPreferenceCreate", preference_create) &&
               find("cublasLtMatmulPreferenceDestroy", preference_destroy) &&
               find("cublasLtMatmulPreferenceSetAttribute", preference_set);
    }
};

namespace {

void check(const char* call, cublasStatus_t status) {
    attempt(call, [&] {
        if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
        return status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation : cudaErrorUnknown;
    });
}

// The largest power of two, up to 256, that an address and the distance of its rows are multiples of.
std::uint32_t alignment_of(const void* address, std::int64_t row_bytes) {
    const auto bits = reinterpret_cast<std::uintptr_t>(address) | static_cast<std::uintptr_t>(row_bytes) | 256u;
    return static_cast<std::uint32_t>(bits & (~bits + 1));
}

}  // namespace

Blas::Blas() {
    auto state = std::make_unique<State>();
    for (const std::string& name : candidates()) {
        state->library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (state->library) break;
    }
    if (!state->library) {
        reason_ = fmt::format("{} was not found; install it (CUDA 13, or the PyPI package nvidia-cublas)", kLibrary);
        return;
    }
    if (!state->find_all() || state->create(&state->handle) != CUBLAS_STATUS_SUCCESS) {
        reason_ = fmt::format("{} does not work with this driver", kLibrary);
        state->handle = nullptr;
        return;
    }
    state_ = std::move(state);
}

Blas::~Blas() = default;

void Blas::product(const Stream& stream, int rows, int out, int in, const void* x, const void* w, bool float16, void* y,
                   bool y_bf16, std::int64_t y_stride, float alpha, float beta, void* workspace) {
    State& s = *state_;
    const std::uint32_t w_alignment = alignment_of(w, std::int64_t{in} * 2),
                        x_alignment = alignment_of(x, std::int64_t{in} * 2);
    const std::uint32_t y_alignment = alignment_of(y, y_stride * (y_bf16 ? 2 : 4));
    const State::Key key = {rows,     out,         in,          float16 * 2 + y_bf16,
                            y_stride, w_alignment, x_alignment, std::int64_t{y_alignment} * 2 + (beta != 0.0f)};
    auto found = s.plans.find(key);
    if (found == s.plans.end()) {
        State::Plan plan;
        try {
            // cuBLAS is column-major: y transposed [out, rows] = (w as [in, out], transposed) * (x as [in, rows]).
            const cudaDataType_t type = float16 ? CUDA_R_16F : CUDA_R_16BF;
            const cublasOperation_t transposed = CUBLAS_OP_T;
            check("cublasLtMatmulDescCreate", s.desc_create(&plan.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
            check("cublasLtMatmulDescSetAttribute",
                  s.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
            const auto columns = static_cast<std::uint64_t>(in);
            check("cublasLtMatrixLayoutCreate", s.layout_create(&plan.w, type, columns, static_cast<std::uint64_t>(out), in));
            check("cublasLtMatrixLayoutCreate", s.layout_create(&plan.x, type, columns, static_cast<std::uint64_t>(rows), in));
            check("cublasLtMatrixLayoutCreate",
                  s.layout_create(&plan.y, y_bf16 ? CUDA_R_16BF : CUDA_R_32F, static_cast<std::uint64_t>(out),
                                  static_cast<std::uint64_t>(rows), y_stride));
            check("cublasLtMatmulPreferenceCreate", s.preference_create(&plan.preference));
            const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
                check("cublasLtMatmulPreferenceSetAttribute",
                      s.preference_set(plan.preference, attribute, &value, sizeof value));
            };
            set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
            set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, w_alignment);
            set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, x_alignment);
            set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, y_alignment);
            set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, y_alignment);
            cublasLtMatmulHeuristicResult_t result{};
            int count = 0;
            check("cublasLtMatmulAlgoGetHeuristic",
                  s.heuristic(s.handle, plan.desc, plan.w, plan.x, plan.y, plan.y, plan.preference, 1, &result, &count));
            if (count == 0)
                throw_error<InternalError>("cuBLASLt has no algorithm for [{}, {}] x [{}, {}]; try --device cpu", rows, in, out,
                                           in);
            plan.algorithm = result.algo;
        } catch (...) {
            s.release(plan);
            throw;
        }
        found = s.plans.emplace(key, plan).first;
    }
    const State::Plan& plan = found->second;
    check("cublasLtMatmul", s.matmul(s.handle, plan.desc, &alpha, w, plan.w, x, plan.x, &beta, y, plan.y, y, plan.y,
                                     &plan.algorithm, workspace, kWorkspaceBytes, stream.handle));
}

}  // namespace narae::kernels::cuda
