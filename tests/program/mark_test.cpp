// The mark that a model made a picture, as programs that look for it read it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "base/pictures.h"
#include "image/image_format.h"
#include "image/picture.h"
#include "image/xmp.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";

class Mark : public ProgramWithModel {
 protected:
  std::string mark_of(const std::string& file) {
    return picture_texts(sdgen::test::contents(folder_ / file), file).source_type;
  }
  // What a shell command prints.
  static std::string printed(const std::string& command) {
    std::string text;
    FILE* pipe = popen(command.c_str(), "r");
    char piece[4096];
    for (std::size_t size; (size = fread(piece, 1, sizeof piece, pipe)) > 0;) text.append(piece, size);
    pclose(pipe);
    return text;
  }
};

TEST_F(Mark, IsInEveryFormat) {
  for (const ImageFormat* format : image_formats()) {
    const std::string name = concat("x", format->ending);
    for (const auto& [words, mark] : {std::pair{Words{}, kMadeByModel},
                                      {{"-i", kPhoto}, kMadeByModelOfPictures},
                                      {{"--no-metadata"}, kMadeByModel},
                                      {{"--no-mark"}, std::string_view()},
                                      {{"--no-mark", "--no-metadata"}, std::string_view()}}) {
      Words all = words;
      all.insert(all.end(), {"-o", name});
      const Outcome outcome = make(all);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      EXPECT_EQ(mark_of(name), mark) << name;
      const bool plain = std::ranges::count(words, "--no-metadata") > 0;
      EXPECT_EQ(picture_texts(sdgen::test::contents(folder_ / name), name).record.empty(), plain) << name;
      const std::string bytes = sdgen::test::contents(folder_ / name);
      EXPECT_FALSE(plain && (contains(bytes, "a red fox") || contains(bytes, "sdgen"))) << name;
      ASSERT_EQ(make(all).exit_code, 0);
      EXPECT_EQ(sdgen::test::contents(folder_ / name), bytes) << name << ": equal requests, equal bytes";
      EXPECT_EQ(contains(run({"inspect", name}).out, concat("  source type     ", mark)), !mark.empty()) << name;
    }
  }
}

TEST_F(Mark, IsReadByOtherPrograms) {
  for (const char* tool : {"exiftool -ver", "exiv2 --version"})
    if (printed(std::string(tool) + " 2>/dev/null").empty()) GTEST_SKIP() << "there is no " << tool;
  for (const ImageFormat* format : image_formats()) {
    const std::string name = concat("x", format->ending), path = (folder_ / name).string();
    ASSERT_EQ(make({"-o", name}).exit_code, 0);
    const std::string mark = concat(kMadeByModel, '\n');
    EXPECT_EQ(printed("exiftool -n -s3 -XMP-iptcExt:DigitalSourceType " + path), mark) << name;
    EXPECT_EQ(printed("exiv2 -Pv -K Xmp.iptcExt.DigitalSourceType print " + path), mark) << name;
    if (format->word != "jpeg") {  // of whose EXIF block A1111 makes no more than the comment, and so do we
      EXPECT_EQ(printed("exiftool -validate -s3 -Warning " + path), "OK\n") << name;
    }
    if (format->word == "png") continue;  // which has the text in a chunk of its own
    EXPECT_TRUE(contains(printed("exiftool -s3 -UserComment " + path), "a red fox")) << name;
  }
}

// What is made on the way, and edges, which no model made.
TEST_F(Mark, OfOtherPictures) {
  ASSERT_EQ(make({"-b", "2", "-o", "{index}.webp", "--grid", "2x1"}).exit_code, 0);
  EXPECT_EQ(mark_of("grid-0.png"), kMadeByModel);
  ASSERT_EQ(make({"-b", "2", "-i", kPhoto, "-o", "{index}.webp", "--grid", "2x1", "--overwrite"}).exit_code, 0);
  EXPECT_EQ(mark_of("grid-0.png"), kMadeByModelOfPictures);
  ASSERT_EQ(make({"-b", "2", "-o", "{index}.webp", "--grid", "2x1", "--overwrite", "--no-mark"}).exit_code, 0);
  EXPECT_EQ(mark_of("grid-0.png"), "");
  ASSERT_EQ(run({"canny", "-i", kPhoto, "-o", "edges.webp"}).exit_code, 0);
  EXPECT_EQ(mark_of("edges.webp"), "");
  ASSERT_EQ(run({"vae-roundtrip", "-m", model(), "-i", kPhoto, "-o", "round.avif"}).exit_code, 0);
  EXPECT_EQ(mark_of("round.avif"), kMadeByModelOfPictures);
}

// Every option that takes a picture takes those of every format.
TEST_F(Mark, PicturesOfEveryFormatAreTaken) {
  ASSERT_EQ(run({"canny", "-i", kPhoto, "-o", "edges.png"}).exit_code, 0);
  const std::string plain = sdgen::test::contents(folder_ / "edges.png");
  for (const std::string kind : {"webp-lossless.webp", "avif-lossless.avif", "jxl-lossless.jxl"}) {
    const std::string file = SDGEN_FIXTURES "/images/" + kind;
    ASSERT_EQ(run({"canny", "-i", file, "-o", "edges.png"}).exit_code, 0);
    if (kind != "avif-lossless.avif") {  // which Pillow keeps in YCbCr
      EXPECT_EQ(sdgen::test::contents(folder_ / "edges.png"), plain) << kind << ": the same pixels";
    }
    const Outcome outcome = make({"-i", file, "--mask", file, "-o", "x.png"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  }
}

}  // namespace
}  // namespace sdgen::test
