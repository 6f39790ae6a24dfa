// LLM.int8()'s weights: bit for bit with bitsandbytes, and what follows from the description.
#include "formats/llm_int8.h"
#include "base/error.h"
#include "formats/quantized_goldens.h"
#include "support/random_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace narae::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Format& llm_int8() { return *find_format("llm_int8"); }

TEST(LlmInt8Goldens, UnpackingAndPackingAreTheOriginals) {
    const Goldens goldens("bitsandbytes");
    int checked = 0;
    for (const Json& golden : goldens.cases()) {
        if (golden.at("format") != "llm_int8") continue;
        const OwnedWeight owned =
            make_weight(llm_int8(), golden.at("shape").at(0), golden.at("shape").at(1), llm_int8().scaling);
        pack_llm_int8(goldens.array<float>(golden, "input").data(), owned);
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::codes), goldens.bytes(golden, "codes")), "");
        EXPECT_EQ(first_difference(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales")), "");
        put(owned.bytes_of(BufferRole::codes), goldens.bytes(golden, "codes"));
        put(owned.bytes_of(BufferRole::scales), goldens.bytes(golden, "scales"));
        const std::vector<float> values = unpack_all(owned.weight);
        EXPECT_EQ(first_difference(std::as_bytes(std::span(values)), goldens.bytes(golden, "values")), "");
        ++checked;
    }
    EXPECT_EQ(checked, 2);
}

TEST(LlmInt8, EveryCodeIsMultipliedTwice) {
    const OwnedWeight owned = make_weight(llm_int8(), 3, 256, llm_int8().scaling);
    const float scales[] = {0.37f, -6e4f, 1e-40f};
    for (std::int64_t row = 0; row < 3; ++row) {
        store_number(owned.bytes_of(BufferRole::scales), DType::f32, row, scales[row]);
        for (int code = -128; code < 128; ++code)
            owned.bytes_of(BufferRole::codes)[static_cast<std::size_t>(row * 256 + code + 128)] = static_cast<std::byte>(code);
    }
    const std::vector<float> values = unpack_all(owned.weight);
    for (std::size_t row = 0; row < 3; ++row)
        for (int code = -128; code < 128; ++code) {
            const float product = static_cast<float>(code) * scales[row];
            EXPECT_EQ(values[row * 256 + static_cast<std::size_t>(code + 128)], product * (1.0f / 127.0f));
        }
}

TEST(LlmInt8, AnyInputIsTaken) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const float special : {nan, infinity, -infinity, 3e38f, 1e-45f, 6e-8f, 0.0f, -0.0f}) {
        std::vector<float> x = random_values(20, 81);
        x[3] = special;
        std::fill_n(x.begin() + 10, 10, special);
        EXPECT_EQ(unpack_all(pack_weight(llm_int8(), 2, 10, x).weight).size(), 20u);
    }
    EXPECT_EQ(unpack_all(pack_weight(llm_int8(), 2, 2, std::vector<float>(4, 0.0f)).weight), std::vector<float>(4, 0.0f));
}

TEST(LlmInt8, ValidateNamesWhatIsWrong) {
    const OwnedWeight owned = make_weight(llm_int8(), 3, 5, {.rows = 1, .columns = 5, .dtype = DType::f32}, {}, "h.0.fc");
    EXPECT_EQ(owned.weight.bits_per_weight(), 8.0 + 32.0 / 5);
    const auto expect_error = [&](auto change, const std::string& message) {
        PackedWeight weight = owned.weight;
        change(weight);
        EXPECT_THAT([&] { validate(weight); }, ThrowsMessage<BadFileError>(AllOf(HasSubstr("h.0.fc"), HasSubstr(message))));
    };
    expect_error([](auto& w) { w.scaling.columns = 4; }, "needs one for each row");
    expect_error([](auto& w) { w.scaling.rows = 3; }, "needs one for each row");
    expect_error([](auto& w) { w.scaling.dtype = DType::f16; }, "scales of type F16");
    expect_error([](auto& w) { w.out = 4; },
                 "15 bytes of codes, shape [4, 5] in format llm_int8 with a scale for [1, 5] elements needs 20");
    expect_error([](auto& w) { w.buffers.pop_back(); }, "0 buffers of scales");
}

}  // namespace
}  // namespace narae::test
