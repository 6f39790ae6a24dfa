// The registry of devices, plans of memory, and messages of what cannot be opened.
#include "kernels/backend.h"
#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace narae::kernels {
namespace {

using ::testing::HasSubstr;

template <class E>
std::string message_of_opening(const BackendOptions& options) {
    try {
        open_backend(options);
    } catch (const E& error) {
        return error.what();
    }
    ADD_FAILURE() << options.device << " was opened";
    return "";
}

BackendOptions device(std::string name) { return {.device = std::move(name), .threads = 1, .instruction_set = ""}; }

TEST(OpenBackend, DevicesAreListedBestFirst) {
    std::vector<std::string> names;
    for (const DeviceInfo& info : devices()) {
        names.push_back(info.name.substr(0, info.name.find(':')));
        EXPECT_EQ(info.usable, info.reason.empty()) << info.name;
        EXPECT_FALSE(info.description.empty()) << info.name;
        EXPECT_EQ(info.instruction_sets.empty(), info.name != "cpu") << info.name;
    }
    names.erase(std::ranges::unique(names).begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"cuda", "cpu", "ref"}));
}

TEST(OpenBackend, AutoTakesTheFirstUsableDevice) {
    for (const DeviceInfo& info : devices())
        if (info.usable) {
            EXPECT_EQ(open_backend(device("auto"))->device(), info.name);
            break;
        }
    EXPECT_EQ(open_backend(device("ref"))->device(), "ref");
    EXPECT_EQ(open_backend(device("cpu"))->device(), "cpu");
}

TEST(OpenBackend, EveryInstructionSetOfTheListOpens) {
    for (const DeviceInfo& info : devices())
        for (const std::string& instruction_set : info.instruction_sets)
            EXPECT_FALSE(
                open_backend({.device = info.name, .threads = 2, .instruction_set = instruction_set})->description().empty());
}

TEST(OpenBackend, UnknownNamesAreUsageErrors) {
    EXPECT_THAT(message_of_opening<UsageError>(device("tpu")), HasSubstr("cpu, ref"));
    EXPECT_THAT(message_of_opening<UsageError>(device("")), HasSubstr("unknown"));
    EXPECT_THAT(message_of_opening<UsageError>(device("cuda:x")), HasSubstr("cuda:0"));
    EXPECT_THAT(message_of_opening<UsageError>(device("cuda:")), HasSubstr("need a number"));
    EXPECT_THAT(message_of_opening<UsageError>(device("cuda:-1")), HasSubstr("need a number"));
    EXPECT_THAT(message_of_opening<UsageError>(device("cuda:1x")), HasSubstr("need a number"));
    EXPECT_THAT(message_of_opening<UsageError>({.device = "cpu", .threads = -1, .instruction_set = ""}), HasSubstr("-1"));
    EXPECT_THAT(message_of_opening<UsageError>({.device = "cpu", .threads = 1, .instruction_set = "mmx"}),
                HasSubstr("generic"));
}

TEST(OpenBackend, MissingDevicesAreResourceErrorsThatSayWhatToDo) {
    EXPECT_THAT(message_of_opening<ResourceError>(device("cuda:9999")), HasSubstr("try --device auto"));
    EXPECT_THAT(message_of_opening<ResourceError>(device("cpu:1")), HasSubstr("no such device"));
    for (const DeviceInfo& info : devices())
        if (info.name == "cuda" && !info.usable) {
            EXPECT_THAT(message_of_opening<ResourceError>(device("cuda")), HasSubstr(info.reason));
        }
}

// What a plan promises is what a workspace holds: every tensor of the size that the limits ask for, inside the plan's sums.
TEST(MemoryPlan, CoversTheWorkspace) {
    ModelShape shape;
    shape.layers = 3;
    shape.hidden = 96;
    shape.heads = 6;
    shape.kv_heads = 2;
    shape.head_dim = 16;
    shape.ffn = 200;
    shape.vocab = 777;
    shape.rotary_dim = 16;
    shape.weight_bytes = 12345;
    shape.groups = {{.layers = 2, .kv_heads = 2, .head_dim = 16, .window = 0, .type = KvType::f16},
                    {.layers = 1, .kv_heads = 2, .head_dim = 16, .window = 32, .type = KvType::f32}};
    const Limits limits{.max_rows = 70, .max_logit_rows = 5, .max_sequences = 3, .max_context = 130, .kv_bytes = 0};
    for (const DeviceInfo& info : devices()) {
        if (!info.usable) continue;
        const auto backend = open_backend(device(info.name));
        const MemoryPlan plan = backend->plan(shape, limits);
        const Workspace w = backend->allocate(shape, limits);
        EXPECT_EQ(w.x.shape, (Shape{70, 96}));
        EXPECT_EQ(w.q.shape, (Shape{70, 96}));
        EXPECT_EQ(w.attention.shape, (Shape{70, 96}));
        EXPECT_EQ(w.ffn.shape, (Shape{70, 200}));
        EXPECT_EQ(w.rope.shape, (Shape{70, 2, 8}));
        EXPECT_EQ(w.rope_local.shape, (Shape{70, 2, 8}));
        EXPECT_EQ(w.logits.shape, (Shape{5, 777}));
        EXPECT_EQ(w.batch.ids.size(), 70u);
        EXPECT_EQ(w.batch.row_begin.size(), 4u);
        EXPECT_EQ(w.batch.logit_rows.size(), 5u);
        EXPECT_EQ(w.batch.block_tables.size(), 2u);
        EXPECT_EQ(w.batch.table_stride, 3);
        std::uint64_t bytes = 0;
        for (const Tensor* tensor : {&w.x, &w.q, &w.attention, &w.ffn, &w.rope, &w.rope_local})
            bytes += static_cast<std::uint64_t>(tensor->shape.elements() * dtype_bits(tensor->dtype) / 8);
        EXPECT_GE(plan.activations, bytes) << info.name;
        EXPECT_GE(plan.logits, 5u * 777u * 4u) << info.name;
        EXPECT_GE(plan.batch, 4 * static_cast<std::uint64_t>(batch_buffer_elements(70, 3, 5, 130, 2))) << info.name;
        EXPECT_EQ(plan.weights, 12345u);
        EXPECT_EQ(plan.kv_per_block, static_cast<std::uint64_t>(shape.groups[0].block_bytes() + shape.groups[1].block_bytes()));
        EXPECT_GE(plan.kv, 3u * static_cast<std::uint64_t>(shape.groups[0].block_bytes() * 3)) << info.name;
        EXPECT_GE(plan.total(), plan.weights + plan.kv + plan.activations + plan.logits + plan.scratch + plan.batch);
        Limits capped = limits;
        capped.kv_bytes = 100000;
        EXPECT_LE(backend->plan(shape, capped).kv, 100000u);
    }
}

}  // namespace
}  // namespace narae::kernels
