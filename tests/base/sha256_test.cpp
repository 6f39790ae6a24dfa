// SHA-256 against the examples of FIPS 180 and NIST's million a's, fed in every way.
#include "base/sha256.h"

#include <gtest/gtest.h>

namespace narae {
namespace {

TEST(Sha256, KnownHashes) {
    EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256_hex(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnThePieces) {
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>(i);
    for (const std::size_t size : {55u, 56u, 63u, 64u, 65u, 119u, 120u, 128u, 300u}) {
        const std::string part = text.substr(0, size);
        for (const std::size_t step : {1u, 3u, 63u, 64u, 65u, 299u}) {
            Sha256 sha;
            for (std::size_t at = 0; at < size; at += step) sha.update(std::string_view(part).substr(at, step));
            EXPECT_EQ(sha.finish(), sha256_hex(part)) << size << " " << step;
        }
    }
}

}  // namespace
}  // namespace narae
