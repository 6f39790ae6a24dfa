#include "tensor/npy.h"

#include "base/error.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace narae::test {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::string npy_file(std::string header, std::string_view data = "", char version = 1) {
    std::string file = "\x93NUMPY";
    file += version;
    file += '\0';
    file += static_cast<char>(header.size() & 0xff);
    file += static_cast<char>(header.size() >> 8);
    if (version > 1) file += std::string(2, '\0');
    return file + header + std::string(data);
}

NpyArray parse(std::string_view file) { return parse_npy(std::as_bytes(std::span(file.data(), file.size())), "x.npy"); }

TEST(Npy, ComesBackAsWritten) {
    const ScratchFolder folder;
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{2, 3}, Shape{4, 0, 2}, Shape{1, 2, 1, 2, 1, 2, 1, 2}}) {
        std::vector<float> values(static_cast<std::size_t>(shape.elements()));
        std::iota(values.begin(), values.end(), -1.5f);
        NpyWriter writer(folder.path() / "a.npy", DType::f32, shape);
        const auto bytes = std::as_bytes(std::span(values));
        writer.append(bytes.first(bytes.size() / 2));
        writer.append(bytes.subspan(bytes.size() / 2));
        writer.commit();
        const NpyArray array = read_npy(folder.path() / "a.npy");
        EXPECT_EQ(array.dtype, DType::f32);
        EXPECT_EQ(array.shape, shape);
        EXPECT_TRUE(std::ranges::equal(array.as<float>(), values));
        EXPECT_THROW(array.as<double>(), InternalError);
    }
}

TEST(Npy, TheFileIsWhatNumPyWrites) {
    const ScratchFolder folder;
    const std::array<std::int32_t, 6> values{1, -2, 3, 4, 5, 6};
    NpyWriter writer(folder.path() / "a.npy", DType::i32, Shape{2, 3});
    writer.append(std::as_bytes(std::span(values)));
    writer.commit();
    std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";
    header.resize(117, ' ');  // 128 bytes with the 10 before it and the newline
    EXPECT_EQ(read_text_file(folder.path() / "a.npy"),
              npy_file(header + "\n", std::string_view(reinterpret_cast<const char*>(values.data()), sizeof values)));
}

TEST(Npy, AnUnfinishedFileLeavesNothing) {
    const ScratchFolder folder;
    {
        NpyWriter writer(folder.path() / "a.npy", DType::f32, Shape{2});
        writer.append(std::vector<std::byte>(4));
        EXPECT_THROW(writer.commit(), InternalError);
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    EXPECT_THROW(NpyWriter(folder.path() / "b.npy", DType::bf16, Shape{2}), UsageError);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Npy, ReadsOtherVersionsAndSpellings) {
    const std::string header = R"({ "shape":(2,), "fortran_order" : False,"descr":"<i2"})";
    for (const char version : {1, 2, 3}) {
        const NpyArray array = parse(npy_file(header, "abcd", version));
        EXPECT_EQ(array.shape, Shape{2});
        EXPECT_EQ(array.as<std::int16_t>()[1], 0x6463);
    }
}

TEST(Npy, RefusesDamagedFiles) {
    const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n";
    EXPECT_NO_THROW(parse(npy_file(good, std::string(16, 'x'))));
    const auto expect_error = [](const std::string& header, std::string_view message) {
        EXPECT_THAT([&] { parse(npy_file(header, std::string(16, 'x'))); },
                    ThrowsMessage<BadFileError>(HasSubstr(std::string(message))))
            << header;
    };
    expect_error("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", "Fortran order");
    expect_error("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", "element type >f4");
    expect_error("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", "element type |O");
    expect_error("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }", "need '''");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "needs 24");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 2), }", "dimension 0 is -2");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "overflows");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 1), }", "overflows");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "a dimension");
    expect_error("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "at most 8");
    expect_error("{'descr': '<f4', 'fortran_order': False, }", "without shape");
    expect_error("{'shape': (2, 2)}", "without descr");
    expect_error("{'more': 1}", "need descr");
    EXPECT_THAT([] { parse("PK not numpy"); }, ThrowsMessage<BadFileError>(HasSubstr("not a .npy file")));
    EXPECT_THAT([&] { parse(npy_file(good, "", 4)); }, ThrowsMessage<BadFileError>(HasSubstr("version 4")));
}

TEST(Npy, EveryTruncationIsAnError) {
    const std::string file = npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", std::string(16, 'x'));
    for (std::size_t size = 0; size < file.size(); ++size) EXPECT_THROW(parse(file.substr(0, size)), BadFileError) << size;
    EXPECT_THROW(parse(file + "x"), BadFileError);
    EXPECT_THROW(read_npy("/nonexistent.npy"), IoError);
}

}  // namespace
}  // namespace narae::test
