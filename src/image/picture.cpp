#include "image/picture.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "image/image_format.h"
#include "image/repaint.h"
#include "io/file.h"
#include "io/file_format.h"
#include "io/hash.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kMostFile = std::uint64_t{256} << 20;
constexpr int kLargest = kMostSide;
constexpr std::int64_t kMostPixels = std::int64_t{1}
                                     << 27;  // some kilobytes of a file can ask for bytes for each of them

// The picture turned upright.
Image turned(Image image, int orientation) {
  if (orientation == 1) return image;
  const int w = image.width, h = image.height;
  const bool swapped = orientation >= 5;
  Image out{swapped ? h : w, swapped ? w : h, {}};
  out.rgb.reserve(image.rgb.size());
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      int from_x = swapped ? y : x, from_y = swapped ? x : y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) from_x = w - 1 - from_x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) from_y = h - 1 - from_y;
      const std::uint8_t* pixel = image.rgb.data() + 3 * (std::size_t(from_y) * w + from_x);
      out.rgb.insert(out.rgb.end(), pixel, pixel + 3);
    }
  }
  return out;
}

// A file whose pixels can be decoded: its format is read here, and its size within the limits.
struct Known {
  const ImageFormat& format;
  PictureInfo info;
};

// Throws Error(input) where there is none that this sdgen reads.
const ImageFormat& readable_format_of(std::string_view bytes, const std::string& who) {
  const ImageFormat* format = image_format_of(bytes);
  if (!format) throw no_known_picture(bytes, who);
  require_usable(*format, Fault::input, who);
  return *format;
}

// Throws Error(input) for what is not read.
Known known_of(std::string_view bytes, const std::string& who) {
  const ImageFormat& format = readable_format_of(bytes, who);
  const PictureInfo info = format.info(bytes, who);
  const Size size = info.size;
  if (size.width > kLargest || size.height > kLargest)
    throw Error(Fault::input,
                concat(who, ": has ", size.width, "x", size.height, " pixels; at most ", kLargest, " a side are read"));
  if (std::int64_t{size.width} * size.height > kMostPixels)
    throw Error(Fault::input, concat(who, ": has ", size.width, "x", size.height, " pixels; at most ",
                                     kMostPixels / 1'000'000, " million are read"));
  return {format, info};
}

}  // namespace

Error no_known_picture(std::string_view bytes, const std::string& who) {
  const std::string_view format = format_of(bytes);
  const std::string read = image_format_names();
  if (picture_format_of(bytes).empty())
    return Error(Fault::input,
                 concat(who, ": is no picture that is read (", read, ")", format.empty() ? "" : "; it is ", format));
  return Error(Fault::input,
               concat(who, ": is ", format, "; only ", read, " are read: convert it, for example with 'magick ",
                      printable(who, 80), " picture.png'"));
}

namespace {

std::string first_bytes(const InputFile& file) {
  std::string head(kFormatHead, '\0');
  head.resize(file.read_some(0, std::as_writable_bytes(std::span(head))));
  return head;
}

}  // namespace

std::string read_picture_file(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string head = first_bytes(file);
  return image_format_of(head) ? read_file(file, kMostFile) : head;
}

void require_picture_file(const std::filesystem::path& path) {
  readable_format_of(first_bytes(InputFile(path)), printable(path.string()));
}

PictureTexts picture_texts(std::string_view bytes, const std::string& who) {
  return readable_format_of(bytes, who).texts(bytes, who);
}

Image decode_picture(std::string_view bytes, const std::string& who) {
  const auto [format, info] = known_of(bytes, who);
  return turned({info.size.width, info.size.height, format.samples(bytes, who, info, 3)}, info.orientation);
}

Image read_picture(const std::filesystem::path& path) { return decode_picture(read_picture_file(path), path.string()); }

InputPicture input_picture(std::string_view bytes, const std::string& who) {
  return {std::make_shared<const Image>(decode_picture(bytes, who)), sha256_of(bytes)};
}

InputMask input_mask(std::string_view bytes, const std::string& who) {
  using Said = InputMask::Said;
  const auto [format, info] = known_of(bytes, who);
  if (!info.opacity) return {input_picture(bytes, who), Said::by_colours};
  const std::vector<std::uint8_t> rgba = format.samples(bytes, who, info, 4);
  Image colours{info.size.width, info.size.height, {}}, opacity = colours;
  colours.rgb.reserve(rgba.size() / 4 * 3);
  opacity.rgb.reserve(rgba.size() / 4 * 3);
  bool one_opacity = true;
  for (auto pixel = rgba.begin(); pixel != rgba.end(); pixel += 4) {
    colours.rgb.insert(colours.rgb.end(), pixel, pixel + 3);
    opacity.rgb.insert(opacity.rgb.end(), 3, pixel[3]);
    one_opacity = one_opacity && pixel[3] == rgba[3];
  }
  const auto [darkest, lightest] = std::ranges::minmax(luma(colours));
  const Said said = one_opacity                        ? Said::by_colours
                    : darkest < 128 && lightest >= 128 ? Said::by_colours_despite_transparency
                                                       : Said::by_opacity;
  Image& chosen = said == Said::by_opacity ? opacity : colours;
  return {{std::make_shared<const Image>(turned(std::move(chosen), info.orientation)), sha256_of(bytes)}, said};
}

}  // namespace sdgen
