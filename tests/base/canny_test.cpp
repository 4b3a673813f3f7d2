#include "image/canny.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "io/safetensors.h"

namespace sdgen {
namespace {

// Pictures and what OpenCV makes of them: NAME-of, NAME-LOW-HIGH.
Image picture(const std::string& name) {
  static const Safetensors file(std::filesystem::path(SDGEN_FIXTURES) / "images" / "edges.safetensors");
  const StoredTensor& entry = file.tensors().at(name);
  Image image{static_cast<int>(entry.shape[1]), static_cast<int>(entry.shape[0]), {}};
  image.rgb.resize(entry.bytes());
  file.read(entry, 0, std::as_writable_bytes(std::span(image.rgb)));
  return image;
}

TEST(Canny, IsOpenCvs) {
  for (const std::string name : {"rgb16", "jpeg"}) {
    const Image photo = picture(name + "-of");
    EXPECT_EQ(canny(photo, 100, 200).rgb, picture(name + "-100-200").rgb) << name;
    EXPECT_EQ(canny(photo, 50.7, 60.2).rgb, picture(name + "-50.7-60.2").rgb) << name;
    EXPECT_EQ(canny(photo, 200, 100).rgb, picture(name + "-200-100").rgb) << name << ": thresholds the wrong way round";
    EXPECT_EQ(canny(photo, 0, 0).rgb, picture(name + "-0-0").rgb) << name;
    EXPECT_EQ(canny(photo, 0, 2040).rgb, picture(name + "-0-2040").rgb) << name;
  }
}

TEST(Canny, FindsNothingInASinglePixel) {
  const Image pixel{1, 1, {10, 20, 30}};
  EXPECT_EQ(canny(pixel, 0, 0).rgb, (std::vector<std::uint8_t>{0, 0, 0}));
}

}  // namespace
}  // namespace sdgen
