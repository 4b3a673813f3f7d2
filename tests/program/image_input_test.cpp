// Pictures to begin with, from the command line.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/pictures.h"
#include "image/png.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43

TEST_F(ProgramWithModel, MakesPicturesOfPictures) {
  const Outcome outcome =
      make({"-i", kPhoto, "--strength", "0.5", "-b", "2", "--batch-size", "2", "--json", "-o", "{index}.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "\"strength\":0.5")) << outcome.out;
  const Size size = read_png_size(folder_ / "0.png");  // its own, rounded down to the model's factor
  EXPECT_LE(size.width, 57);
  EXPECT_GT(size.width, 57 - 8);
  EXPECT_LE(size.height, 43);
  EXPECT_GT(size.height, 43 - 8);
  const auto texts = read_png_text(folder_ / "1.png");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_TRUE(contains(texts[0].text, "Denoising strength: 0.5")) << texts[0].text;

  EXPECT_EQ(make({"-i", kPhoto, "-W", "24", "-H", "32", "-o", "sized.png"}).exit_code, 0);
  EXPECT_EQ(read_png_size(folder_ / "sized.png"), (Size{24, 32}));
}

TEST_F(ProgramWithModel, RefusesPicturesThatItCannotRead) {
  std::ofstream(folder_ / "text.png") << "no picture";
  std::ofstream(folder_ / "cut.png") << contents(kPhoto).substr(0, 900);
  for (const auto& [path, message] : {std::pair{"missing.png", "missing.png"},
                                      {"text.png", "is no picture that is read (PNG, JPEG, WebP, AVIF and JPEG XL)"},
                                      {"cut.png", "incomplete download"}}) {
    const Outcome outcome = make({"-i", path, "-o", "x.png"});
    EXPECT_EQ(outcome.exit_code, 3) << path;
    EXPECT_EQ(outcome.out, "") << path;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));
}

TEST_F(ProgramWithModel, RefusesStrengthsThatMeanNothing) {
  for (const auto& [words, message] : {std::pair{Words{"--strength", "0.5"}, "--init-image"},
                                       {{"-i", kPhoto, "--strength", "1.1"}, "--strength"},
                                       {{"-i", kPhoto, "--strength", "-0.1"}, "--strength"},
                                       {{"-i", kPhoto, "--strength", "0"}, "strength 0"},
                                       {{"-i", kPhoto, "--strength", "0.4"}, "leaves none of 2 steps"}}) {
    const Outcome outcome = make(words);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
  }
}

}  // namespace
}  // namespace sdgen::test
