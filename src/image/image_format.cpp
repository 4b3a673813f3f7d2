#include "image/image_format.h"

#include <algorithm>
#include <array>
#include <utility>

#include "image/avif.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/jxl.h"
#include "image/png.h"
#include "image/webp.h"
#include "image/xmp.h"
#include "io/file_format.h"
#include "io/text.h"

namespace sdgen {
namespace {

constexpr std::array kFormats = {&kPng, &kJpeg, &kWebp, &kAvif, &kJxl};

const ImageFormat* named(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, [](const ImageFormat* format) { return format->name; });
  return found == kFormats.end() ? nullptr : *found;
}

}  // namespace

std::span<const ImageFormat* const> image_formats() { return kFormats; }

const ImageFormat& png_format() { return kPng; }

const ImageFormat* image_format_of(std::string_view bytes) { return named(picture_format_of(bytes)); }

const ImageFormat* image_format_of_ending(std::string_view ending) { return named(picture_format_of_ending(ending)); }

bool is_named_as_picture(const std::filesystem::path& file) {
  return image_format_of_ending(lower(file.extension().string())) != nullptr;
}

std::string image_format_names() {
  std::string names;
  for (std::size_t i = 0; i < kFormats.size(); ++i)
    names += concat(i == 0 ? "" : i + 1 == kFormats.size() ? " and " : ", ", kFormats[i]->name);
  return names;
}

void require_usable(const ImageFormat& format, Fault fault, const std::string& who) {
  if (!format.encode)
    throw Error(fault, concat(who, ": this sdgen was built without ", format.library, ", which reads and writes ",
                              format.name));
  if (!format.open) return;
  try {
    format.open();
  } catch (const Error& error) {
    throw Error(fault, concat(who, ": ", error.what()));
  }
}

PictureTexts texts_of_blocks(std::string_view exif, std::string_view xmp) {
  XmpTexts packet = read_xmp(xmp);
  PictureTexts found{exif_comment(exif), std::move(packet.record), std::move(packet.source_type)};
  if (!found.record.empty()) found.others.push_back({kRecordKeyword, found.record});
  return found;
}

Error animation(const std::string& who) {
  return Error(Fault::input, concat(who, ": is an animation; save one of its pictures by itself"));
}

void drop_opacity(std::vector<std::uint8_t>& samples) {
  const std::size_t pixels = samples.size() / 4;
  for (std::size_t i = 0; i < pixels; ++i) std::copy_n(samples.begin() + 4 * i, 3, samples.begin() + 3 * i);
  samples.resize(3 * pixels);
}

void require_encodable(const ImageFormat& format, const Image& image) {
  const std::int64_t width = image.width, height = image.height;
  if (width < 1 || height < 1 || width > format.most_side || height > format.most_side ||
      image.rgb.size() != static_cast<std::size_t>(3 * width * height))
    throw Error(Fault::internal, concat("an image of ", width, "x", height, " pixels and ", image.rgb.size(),
                                        " bytes cannot be written as ", format.name));
}

}  // namespace sdgen
