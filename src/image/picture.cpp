#include "image/picture.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/exif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "image/repaint.h"
#include "io/file.h"
#include "io/file_format.h"
#include "io/hash.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace {

// The decoder is asked for one picture at a time; no piece of its memory may be larger than this. A few kilobytes of
// compressed zeros would be gigabytes otherwise.
thread_local std::size_t most_bytes = 0;

void* bounded_realloc(void* old, std::size_t size) { return size > most_bytes ? nullptr : std::realloc(old, size); }

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS sdgen::kMostSide
#define STBI_MALLOC(size) bounded_realloc(nullptr, size)
#define STBI_REALLOC(old, size) bounded_realloc(old, size)
#define STBI_FREE(memory) std::free(memory)
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace sdgen {
namespace {

constexpr std::uint64_t kMostFile = std::uint64_t{256} << 20;
constexpr int kLargest = STBI_MAX_DIMENSIONS;
constexpr std::int64_t kMostPixels = std::int64_t{1} << 27;  // a JPEG of some kilobytes can ask for 7 bytes for each

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

// A JPEG's pixels end with a marker; inside them 0xFF is never followed by its code. Where it is missing, the decoder
// would make up the rest.
bool ends(std::string_view jpeg) { return jpeg.rfind("\xFF\xD9") != std::string_view::npos; }

// What is known of a file before its pixels are decoded.
struct Known {
  Size size;
  int orientation = 1;
};

Known check_jpeg(std::string_view bytes, const std::string& who) {
  const JpegInfo info = jpeg_info(bytes, who);
  if (info.components != 1 && info.components != 3)
    throw Error(Fault::input,
                concat(who, ": is a JPEG of ", info.components, " components (inks, CMYK); save it as RGB first"));
  if (!ends(bytes.substr(info.pixels_at)))
    throw Error(Fault::input, concat(who, ": ends within its pixels (incomplete download?)"));
  return {info.size, info.orientation};
}

// The samples of a PNG's pixels, `channels` each: 3, or 4 with opacity.
std::vector<std::uint8_t> png_samples(std::string_view bytes, const std::string& who, Size size, int channels) {
  // Twice the file, for the joined chunks of a PNG; the samples of a 16-bit RGBA picture, filtered, and doubled as the
  // decoder's buffer grows.
  most_bytes = 2 * bytes.size() + 16 * (std::size_t(size.width) + 64) * (std::size_t(size.height) + 64) + (1 << 20);
  int width = 0, height = 0, in_file = 0;
  const std::unique_ptr<stbi_uc, decltype(&std::free)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                            &height, &in_file, channels),
      &std::free);
  if (!pixels) {
    const char* reason = stbi_failure_reason();  // none where its memory was bounded too early
    const char* why = reason != nullptr ? reason : "more bytes than pixels";
    throw Error(Fault::input, concat(who, ": its pixels are damaged or of an unknown kind (", why, ")"));
  }
  return {pixels.get(), pixels.get() + std::size_t(channels) * width * height};
}

Image decode_png(std::string_view bytes, const std::string& who, Size size) {
  return {size.width, size.height, png_samples(bytes, who, size, 3)};
}

}  // namespace

Error no_known_picture(std::string_view bytes, const std::string& who) {
  const std::string_view format = format_of(bytes);
  if (!is_picture_format(format))
    return Error(Fault::input,
                 concat(who, ": is neither a PNG nor a JPEG file", format.empty() ? "" : "; it is ", format));
  return Error(Fault::input, concat(who, ": is ", format,
                                    "; only PNG and JPEG are read: convert it, for example with "
                                    "'magick ",
                                    printable(who, 80), " picture.png'"));
}

namespace {

std::string first_bytes(const InputFile& file) {
  std::string head(kFormatHead, '\0');
  head.resize(file.read_some(0, std::as_writable_bytes(std::span(head))));
  return head;
}

bool is_read(std::string_view head) { return is_png(head) || is_jpeg(head); }

}  // namespace

std::string read_picture_file(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string head = first_bytes(file);
  return is_read(head) ? read_file(file, kMostFile) : head;
}

void require_picture_file(const std::filesystem::path& path) {
  const std::string head = first_bytes(InputFile(path));
  if (!is_read(head)) throw no_known_picture(head, printable(path.string()));
}

namespace {

// Throws Error(input) for what is not read.
Known known_of(std::string_view bytes, const std::string& who) {
  Known known;
  if (is_png(bytes)) {
    const PngInfo info = check_png(bytes, who);
    known = {info.size, exif_orientation(info.exif)};
  } else if (is_jpeg(bytes)) {
    known = check_jpeg(bytes, who);
  } else {
    throw no_known_picture(bytes, who);
  }
  const Size size = known.size;
  if (size.width > kLargest || size.height > kLargest)
    throw Error(Fault::input,
                concat(who, ": has ", size.width, "x", size.height, " pixels; at most ", kLargest, " a side are read"));
  if (std::int64_t{size.width} * size.height > kMostPixels)
    throw Error(Fault::input, concat(who, ": has ", size.width, "x", size.height, " pixels; at most ",
                                     kMostPixels / 1'000'000, " million are read"));
  return known;
}

}  // namespace

Image decode_picture(std::string_view bytes, const std::string& who) {
  const Known known = known_of(bytes, who);
  return turned((is_png(bytes) ? decode_png : decode_jpeg)(bytes, who, known.size), known.orientation);
}

Image read_picture(const std::filesystem::path& path) { return decode_picture(read_picture_file(path), path.string()); }

InputPicture input_picture(std::string_view bytes, const std::string& who) {
  return {std::make_shared<const Image>(decode_picture(bytes, who)), sha256_of(bytes)};
}

InputMask input_mask(std::string_view bytes, const std::string& who) {
  using Said = InputMask::Said;
  if (!is_png(bytes)) return {input_picture(bytes, who), Said::by_colours};
  const Known known = known_of(bytes, who);
  const std::vector<std::uint8_t> rgba = png_samples(bytes, who, known.size, 4);
  Image colours{known.size.width, known.size.height, {}}, opacity = colours;
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
  return {{std::make_shared<const Image>(turned(std::move(chosen), known.orientation)), sha256_of(bytes)}, said};
}

}  // namespace sdgen
