#include "io/hash.h"

#include <gtest/gtest.h>

#include "base/scratch.h"

namespace sdgen {
namespace {

TEST(Sha256, EqualsNistsExamples) {
  const Scratch scratch;
  const auto hash = [&](std::string_view text) { return sha256_of_file(scratch.write("x", text)); };
  EXPECT_EQ(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  // A whole piece, and more than one (sha256sum's answers).
  EXPECT_EQ(hash(std::string(1 << 20, '\0')), "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58");
  EXPECT_EQ(hash(std::string(3'000'001, 'b')), "d224a3a646c6227212fba162cf105876fd3d227a1d6634ba1b53fb70b4a0ff83");
}

TEST(Sha256, OfAPieceOfAFile) {
  const Scratch scratch;
  const auto path = scratch.write("x", "0123abc89");
  EXPECT_EQ(sha256_of_file(path, 4, 3), sha256_of("abc"));
  EXPECT_EQ(sha256_of_file(path, 4), sha256_of("abc89")) << "to the end";
  EXPECT_EQ(sha256_of_file(path, 4, 100), sha256_of("abc89")) << "no further than the end";
}

TEST(Sha256, RefusesWhatIsNoFile) {
  const Scratch scratch;
  EXPECT_CONTAINS(message_of(Fault::input, [&] { sha256_of_file(scratch / "no"); }), "cannot be opened");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { sha256_of_file(scratch.folder()); }), "is a folder");
}

}  // namespace
}  // namespace sdgen
