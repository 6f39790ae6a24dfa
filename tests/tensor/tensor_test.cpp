#include "tensor/tensor.h"

#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace narae::test {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::int64_t kLarge = std::numeric_limits<std::int64_t>::max();

TEST(DType, NamesAreFoundAgain) {
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(DType::f6_e3m2); ++i) {
        const auto dtype = static_cast<DType>(i);
        EXPECT_EQ(find_dtype(dtype_name(dtype)), dtype);
        names.insert(dtype_name(dtype));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(DType::f6_e3m2) + 1);
    EXPECT_EQ(find_dtype("f32"), std::nullopt);
    EXPECT_EQ(dtype_bits(DType::bf16), 16);
    EXPECT_EQ(dtype_bits(DType::f4_e2m1), 4);
    EXPECT_EQ(dtype_bits(DType::c64), 64);
    EXPECT_THROW(dtype_bits(static_cast<DType>(200)), InternalError);
}

TEST(Shape, HoldsDimensions) {
    const Shape shape{49152, 576};
    EXPECT_EQ(shape.rank(), 2);
    EXPECT_EQ(shape[1], 576);
    EXPECT_EQ(shape.elements(), 49152 * 576);
    EXPECT_EQ(shape.to_string(), "[49152, 576]");
    EXPECT_EQ(shape, Shape(std::vector<std::int64_t>{49152, 576}));
    EXPECT_NE(shape, (Shape{49152, 576, 1}));
    EXPECT_EQ(Shape().elements(), 1);
    EXPECT_EQ(Shape().to_string(), "[]");
    EXPECT_EQ((Shape{3, 0, 5}).elements(), 0);
}

TEST(Shape, RefusesWhatCannotBe) {
    EXPECT_THAT(([] { Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; }), ThrowsMessage<BadFileError>(HasSubstr("rank 9")));
    EXPECT_THAT(([] { Shape{2, -1}; }), ThrowsMessage<BadFileError>(HasSubstr("dimension 1 is -1")));
    EXPECT_THAT(([] { return Shape{kLarge, 2}.elements(); }), ThrowsMessage<BadFileError>(HasSubstr("overflows")));
    EXPECT_THAT(([] { return Shape{1 << 30, 1 << 30, 8}.elements(); }), ThrowsMessage<BadFileError>(HasSubstr("overflows")));
    EXPECT_EQ((Shape{kLarge, 1}).elements(), kLarge);
    EXPECT_THROW(make_tensor(nullptr, DType::f32, Shape{kLarge, 2, 3}), BadFileError);
}

TEST(Tensor, IsRowMajor) {
    std::int32_t values[24] = {};
    const Tensor tensor = make_tensor(values, DType::i32, Shape{2, 3, 4});
    EXPECT_EQ(tensor.as<std::int32_t>(), values);
    EXPECT_EQ(tensor.strides[0], 12);
    EXPECT_EQ(tensor.strides[1], 4);
    EXPECT_EQ(tensor.strides[2], 1);
}

TEST(Buffer, IsAlignedAndZeroed) {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{64}, std::size_t{65}, std::size_t{(1 << 20) - 1},
                                    std::size_t{1} << 20, (std::size_t{2} << 20) + 1, std::size_t{9} << 20}) {
        const Buffer buffer(bytes);
        ASSERT_EQ(buffer.size(), bytes);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
        if (bytes >= std::size_t{2} << 20) {
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % (2 << 20), 0u);
        }
        EXPECT_TRUE(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{0}; }));
        std::ranges::fill(buffer.bytes(), std::byte{0x5a});  // all of it can be written
    }
    EXPECT_EQ(Buffer(0).data(), nullptr);
    EXPECT_EQ(Buffer(10).as<float>().size(), 2u);
}

TEST(Buffer, MovesItsMemory) {
    for (const std::size_t bytes : {std::size_t{100}, std::size_t{3} << 20}) {
        Buffer first(bytes);
        std::byte* const data = first.data();
        Buffer second(std::move(first));
        EXPECT_EQ(second.data(), data);
        EXPECT_EQ(first.data(), nullptr);  // NOLINT: a moved-from buffer is empty
        EXPECT_EQ(first.size(), 0u);
        Buffer third(50);
        third = std::move(second);
        EXPECT_EQ(third.data(), data);
        EXPECT_EQ(third.size(), bytes);
        EXPECT_EQ(second.size(), 0u);  // NOLINT
    }
}

TEST(Buffer, SaysHowMuchMemoryIsMissing) {
    for (const std::size_t bytes : {std::size_t{1} << 46, std::numeric_limits<std::size_t>::max()})
        EXPECT_THAT([&] { Buffer buffer(bytes); },
                    ThrowsMessage<ResourceError>(testing::AllOf(HasSubstr(std::to_string(bytes)), HasSubstr("available"))));
}

}  // namespace
}  // namespace narae::test
