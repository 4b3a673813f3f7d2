// When there is a preview, and where it lies. What becomes of the files is in tests/program/look_test.cpp.
#include "cli/previews.h"

#include <gtest/gtest.h>

namespace sdgen::cli {
namespace {

TEST(Previews, ComeAfterEverySoManyStepsButTheLast) {
  Observer nobody;
  const auto steps = [&](int every) {
    Previews previews(nobody, every, /*replace=*/false);
    std::string wanted;
    for (int done = 1; done <= 6; ++done)
      if (previews.wants_preview(done, 6)) wanted += std::to_string(done);
    return wanted;
  };
  EXPECT_EQ(steps(0), "");
  EXPECT_EQ(steps(1), "12345") << "the last step has the picture itself";
  EXPECT_EQ(steps(2), "24");
  EXPECT_EQ(steps(6), "");
}

TEST(Previews, LieBesideTheirPictures) {
  EXPECT_EQ(preview_file("out/fox.png"), "out/fox.preview.png");
  EXPECT_EQ(preview_file("fox.jpg"), "fox.preview.png");
}

}  // namespace
}  // namespace sdgen::cli
