// Repainting, extending, and an autoencoder's round trip, from the command line.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/pictures.h"
#include "image/picture.h"
#include "image/png.h"
#include "image/resize.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43

class Inpainting : public ProgramWithModel {
 protected:
  // A mask that is white in a box.
  std::string mask(const std::string& name, Size size, const Box& white) {
    Image image{size.width, size.height, std::vector<std::uint8_t>(std::size_t{3} * size.width * size.height)};
    for (int y = white.top; y < white.bottom; ++y)
      std::fill_n(image.rgb.begin() + 3 * (y * size.width + white.left), 3 * (white.right - white.left), 255);
    const std::vector<std::byte> png = encode_png(image, {});
    std::ofstream(folder_ / name, std::ios::binary).write(reinterpret_cast<const char*>(png.data()), png.size());
    return name;
  }

  // How many pixels of the region differ.
  static int differing(const Image& a, const Image& b, const Box& region) {
    const Image left = crop(a, region), right = crop(b, region);
    int count = 0;
    for (std::size_t i = 0; i < left.rgb.size(); i += 3)
      count += !std::equal(left.rgb.begin() + i, left.rgb.begin() + i + 3, right.rgb.begin() + i);
    return count;
  }
};

TEST_F(Inpainting, KeepsWhatIsBlack) {
  const std::string box = mask("mask.png", {57, 43}, {0, 0, 24, 43});
  // The part alone: the result has the picture's own size, whatever the networks draw.
  const Outcome alone = make({"-i", kPhoto, "--mask", box, "--only-masked", "2", "-W", "32", "-H", "32", "-b", "2",
                              "--batch-size", "2", "--json", "-o", "{index}.png"});
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_TRUE(contains(alone.out, "\"only_masked\":2")) << alone.out;
  const Image photo = read_picture(kPhoto), made = read_picture(folder_ / "1.png");
  ASSERT_EQ((Size{made.width, made.height}), (Size{57, 43}));
  EXPECT_EQ(differing(made, photo, {24, 0, 57, 43}), 0);
  EXPECT_GT(differing(made, photo, {0, 0, 24, 43}), 24 * 43 / 2);
  const std::string text = read_png_text(folder_ / "1.png").at(0).text;
  EXPECT_TRUE(contains(text, "Denoising strength: 1, RNG: CPU, Inpaint area: Only masked, Masked area padding: 2"))
      << text;

  const std::string fitting = mask("fitting.png", {56, 40}, {0, 0, 24, 40});
  ASSERT_EQ(make({"-i", kPhoto, "--mask", fitting, "-W", "56", "-H", "40", "-o", "whole.png"}).exit_code, 0);
  EXPECT_EQ(differing(read_picture(folder_ / "whole.png"), resize(photo, {56, 40}), {24, 0, 56, 40}), 0);
}

TEST_F(Inpainting, ExtendsPictures) {
  const Outcome outcome = make({"-i", kPhoto, "--extend", "9,0,0,7", "-o", "x.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Image photo = read_picture(kPhoto), made = read_picture(folder_ / "x.png");
  EXPECT_EQ(made.width % 4 + made.height % 4, 0);  // the model's factor
  const int left = made.width - 57, overlap = 16;
  ASSERT_GE(left, 9);
  EXPECT_LT(left, 9 + 8);
  EXPECT_GE(made.height, 50);
  const Box kept{overlap, 0, 57, 43 - overlap};
  EXPECT_EQ(differing(crop(made, {left, 0, left + 57, 43}), photo, kept), 0);
  const std::string text = read_png_text(folder_ / "x.png").at(0).text;
  EXPECT_TRUE(contains(text, concat("Extend: \"", left, ",0,0,", made.height - 43, "\""))) << text;
}

TEST_F(Inpainting, RefusesWhatMeansNothing) {
  const std::string box = mask("mask.png", {57, 43}, {0, 0, 24, 43});
  for (const auto& [words, message] :
       {std::pair{Words{"--mask", box}, "--mask needs --init-image"},
        {{"--extend", "1,1,1,1"}, "--extend needs --init-image"},
        {{"--depth", box}, "--depth needs --init-image"},
        {{"-i", kPhoto, "--mask-blur", "2"}, "--mask-blur needs --mask"},
        {{"-i", kPhoto, "--only-masked", "2"}, "--only-masked needs --mask"},
        {{"-i", kPhoto, "--extend", "0,0,0,0"}, "extend nothing"},
        {{"-i", kPhoto, "--extend", "1,1,1"}, "LEFT,TOP,RIGHT,BOTTOM"},
        {{"-i", kPhoto, "--extend", "8,0,0,0", "-W", "64"}, "--width"},
        {{"-i", kPhoto, "--extend", "16384,0,0,0"}, "is outside"},
        {{"-i", kPhoto, "--depth", box}, "not a depth-to-image model"},
        {{"-i", kPhoto, "--mask", box, "--strength", "0.4"}, "leaves none of 2 steps"}}) {
    const Outcome outcome = make(words);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_TRUE(contains(outcome.err, message)) << outcome.err;
  }
  const std::string black = mask("black.png", {57, 43}, {0, 0, 0, 0});
  for (const Words& more : {Words{}, {"--only-masked", "4"}, {"--mask-blur", "3"}}) {
    Words words{"-i", kPhoto, "--mask", black, "-o", "x.png"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = make(words);
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_TRUE(contains(outcome.err, "the mask is black")) << outcome.err;
  }
  EXPECT_EQ(make({"-i", kPhoto, "--mask", "missing.png"}).exit_code, 3);
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));
}

TEST_F(Inpainting, RoundTripsAPicture) {
  const Outcome outcome = run({"vae-roundtrip", "-m", model(), "-i", kPhoto, "-o", "out.png", "--dtype", "float32"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.substr(0, 5), "PSNR ") << outcome.out;
  EXPECT_TRUE(outcome.out.ends_with(" dB\n")) << outcome.out;
  const Image before = resize(read_picture(kPhoto), {56, 40}), after = read_picture(folder_ / "out.png");
  ASSERT_EQ((Size{after.width, after.height}), (Size{56, 40}));
  double squares = 0;
  for (std::size_t i = 0; i < before.rgb.size(); ++i) squares += std::pow(before.rgb[i] - after.rgb[i], 2);
  EXPECT_NEAR(std::stod(outcome.out.substr(5)), 10 * std::log10(255 * 255 * double(before.rgb.size()) / squares),
              0.006);
  EXPECT_EQ(run({"vae-roundtrip", "-m", model(), "-i", kPhoto, "-o", "out.png", "--no-clobber"}).exit_code, 4);
  const Outcome json = run({"vae-roundtrip", "--vae", model() + "/vae", "-i", kPhoto, "-o", "out.png", "--json"});
  EXPECT_TRUE(contains(json.out, "{\"file\":\"out.png\",\"psnr\":")) << json.out << json.err;
  EXPECT_EQ(run({"vae-roundtrip", "-i", kPhoto}).exit_code, 2);
  EXPECT_EQ(run({"vae-roundtrip", "-o", "x.png"}).exit_code, 2);
  EXPECT_EQ(run({"vae-roundtrip", "-i", kPhoto, "-o", "x.png", "--prompt", "x"}).exit_code, 2);
}

}  // namespace
}  // namespace sdgen::test
