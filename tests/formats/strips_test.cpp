// Strips hold every code where the layout says: packed and read back they are the format's own values.
#include "formats/strips.h"
#include "support/random_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace narae::test {
namespace {

struct Case {
    const char* format;
    int parts;
    bool interleaved;
    std::int64_t out, in;
};

class Strips : public ::testing::TestWithParam<Case> {};

TEST_P(Strips, HoldTheFormatsValues) {
    const Case c = GetParam();
    const Format& format = *find_format(c.format);
    std::vector<OwnedWeight> owned;
    std::int64_t rows = 0;
    for (int p = 0; p < c.parts; ++p) {
        owned.push_back(random_weight(format, c.out + (c.interleaved ? 0 : p), c.in, static_cast<std::uint64_t>(p + 1), 3));
        rows += owned.back().weight.out;
    }
    if (c.interleaved) rows = (c.out + 7) / 8 * kStripRows;
    const StripLayout layout = strip_layout(*strip_kind_of(format), rows, c.in);
    EXPECT_EQ(layout.strips, (rows + kStripRows - 1) / kStripRows);
    EXPECT_GE(layout.units * kUnitColumns, c.in);
    std::vector<std::byte> memory(layout.bytes);
    StripPlace place{.first = 0, .interleaved = c.interleaved};
    std::set<std::int64_t> taken;
    std::vector<StripPlace> places;
    for (const OwnedWeight& part : owned) {
        pack_strips(part.weight, layout, place, memory);
        places.push_back(place);
        place.first += c.interleaved ? 8 : part.weight.out;
    }
    for (std::size_t p = 0; p < owned.size(); ++p) {
        const std::vector<float> values = unpack_all(owned[p].weight);
        for (std::int64_t r = 0; r < owned[p].weight.out; ++r) {
            const std::int64_t row = places[p].row(r);
            EXPECT_TRUE(taken.insert(row).second) << "row " << row << " twice";
            for (std::int64_t column = 0; column < c.in; ++column)
                ASSERT_EQ(strip_value(layout, memory, row, column), values[static_cast<std::size_t>(r * c.in + column)])
                    << "part " << p << ", row " << r << ", column " << column;
        }
    }
    // What is filled up has the value zero.
    for (std::int64_t row = 0; row < layout.strips * kStripRows; ++row)
        for (std::int64_t column = 0; column < layout.units * kUnitColumns; ++column)
            if (!taken.contains(row) || column >= c.in) {
                ASSERT_EQ(strip_value(layout, memory, row, column), 0.0f);
            }
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const char* format : {"q4_0", "q4_1", "q8_0", "q6_k"})
        for (const std::int64_t in : {256, 512})
            for (const std::int64_t out : {1, 7, 16, 33})
                for (const auto& [parts, interleaved] : {std::pair(1, false), std::pair(3, false), std::pair(2, true)})
                    all.push_back({format, parts, interleaved, out, in});
    all.push_back({"q4_0", 1, false, 5, 32});
    all.push_back({"q8_0", 2, true, 9, 96});
    return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Strips, ::testing::ValuesIn(cases()), [](const auto& of) {
    const Case& c = of.param;
    return std::string(c.format) + "_" + std::to_string(c.parts) + (c.interleaved ? "_by_turns_" : "_parts_") +
           std::to_string(c.out) + "x" + std::to_string(c.in);
});

TEST(HeadOrders, PutPairsThatRotateTogetherEightRowsApart) {
    for (const auto& [head_dim, rotary_dim] : {std::pair{128, 128}, {64, 32}, {80, 80}, {96, 16}})
        for (const bool interleaved : {false, true}) {
            const HeadOrder order{head_dim, rotary_dim, interleaved};
            std::set<int> places;
            for (int row = 0; row < 3 * head_dim; ++row) {
                const int place = order.place(row), component = row % head_dim;
                places.insert(place);
                EXPECT_EQ(order.row(place), row);
                EXPECT_EQ(place / head_dim, row / head_dim);
                if (component >= rotary_dim) {
                    EXPECT_EQ(place, row);
                    continue;
                }
                const bool first = interleaved ? component % 2 == 0 : component < rotary_dim / 2;
                const int partner =
                    interleaved ? (first ? row + 1 : row - 1) : (first ? row + rotary_dim / 2 : row - rotary_dim / 2);
                EXPECT_EQ(order.place(partner), first ? place + 8 : place - 8);
                EXPECT_EQ(place % 16 < 8, first);
            }
            EXPECT_EQ(places.size(), static_cast<std::size_t>(3 * head_dim));
        }
    for (const int row : {0, 5, 1000}) EXPECT_EQ(HeadOrder{}.place(row), row);
}

TEST(StripKinds, OtherFormatsHaveNone) {
    EXPECT_FALSE(strip_kind_of(*find_format("bf16")).has_value());
    EXPECT_FALSE(strip_kind_of(*find_format("q5_k")).has_value());
}

}  // namespace
}  // namespace narae::test
