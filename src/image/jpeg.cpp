#include "image/jpeg.h"

#include <turbojpeg.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "image/big_endian.h"
#include "image/exif.h"
#include "image/xmp.h"
#include "io/file_format.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::size_t kMaxSegments = 10'000;

using namespace std::string_view_literals;

constexpr std::size_t kMaxRemarks = 16;
constexpr std::size_t kMaxSegment = 65533;  // bytes after the two of its length
constexpr std::string_view kExifBegin = "Exif\0\0"sv, kXmpBegin = "http://ns.adobe.com/xap/1.0/\0"sv;

// Marker, length, data. Nothing for data that no segment holds.
std::string segment(char marker, std::string_view data) {
  if (data.empty() || data.size() > kMaxSegment) return "";
  const std::size_t length = data.size() + 2;
  return concat('\xFF', marker, static_cast<char>(length >> 8), static_cast<char>(length & 0xFF), data);
}

}  // namespace

std::vector<std::byte> encode_jpeg(const Image& image, const JpegTexts& texts,
                                   const std::function<void(const std::string&)>& warn, int quality) {
  require_encodable(kJpeg, image);
  std::string words;
  const auto add = [&](char marker, const std::string& data, const char* what) {
    words += segment(marker, data);
    if (data.size() > kMaxSegment)
      warn(concat(what, " take ", data.size(), " bytes, and a JPEG file holds ", kMaxSegment,
                  " at most: they are left out (PNG has room)"));
  };
  if (!texts.comment.empty())
    add('\xE1', concat(kExifBegin, exif_of_comment(texts.comment)), "the prompt and settings in its EXIF block");
  if (!texts.xmp.empty()) add('\xE1', concat(kXmpBegin, texts.xmp), "the XMP packet");
  add('\xFE', texts.remark, "the settings in its comment");

  const std::unique_ptr<void, int (*)(void*)> encoder(tjInitCompress(), &tjDestroy);
  if (!encoder) throw std::bad_alloc();
  unsigned long size = tjBufSize(image.width, image.height, TJSAMP_444);  // the most that it can take
  const auto file = std::make_unique_for_overwrite<unsigned char[]>(size);
  unsigned char* to = file.get();
  if (tjCompress2(encoder.get(), image.rgb.data(), image.width, /*pitch=*/0, image.height, TJPF_RGB, &to, &size,
                  TJSAMP_444, quality, TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC) != 0) {
    const std::string why = tjGetErrorStr2(encoder.get());
    if (why.find("emory") != std::string::npos) throw std::bad_alloc();
    throw Error(Fault::internal, concat("libjpeg-turbo cannot write the picture: ", why));
  }
  // Its own JFIF segment stays the first one.
  const auto pixels = std::as_bytes(std::span(file.get(), size));
  const std::size_t behind =
      2 + 2 + (std::to_integer<std::size_t>(pixels[4]) << 8 | std::to_integer<std::size_t>(pixels[5]));
  const auto text_bytes = std::as_bytes(std::span(words));
  std::vector<std::byte> bytes(pixels.begin(), pixels.begin() + static_cast<std::ptrdiff_t>(behind));
  bytes.reserve(pixels.size() + words.size());
  bytes.insert(bytes.end(), text_bytes.begin(), text_bytes.end());
  bytes.insert(bytes.end(), pixels.begin() + static_cast<std::ptrdiff_t>(behind), pixels.end());
  return bytes;
}

bool is_jpeg(std::string_view bytes) { return bytes.starts_with(kJpegBegin); }

JpegInfo jpeg_info(std::string_view bytes, const std::string& who) {
  const auto fail = [&](const std::string& what) { throw Error(Fault::input, who + ": " + what); };
  const auto part = [&](std::size_t offset, std::size_t size) {
    if (offset > bytes.size() || size > bytes.size() - offset) fail("ends before its pixels (incomplete download?)");
    return bytes.substr(offset, size);
  };
  if (!is_jpeg(bytes)) fail("is not a JPEG file");
  JpegInfo info;
  bool exif = false;
  std::size_t offset = 2;
  for (std::size_t count = 0;; ++count) {
    if (count == kMaxSegments) fail(concat("has more than ", kMaxSegments, " segments before its pixels"));
    const std::string_view head = part(offset, 4);
    const auto marker = static_cast<std::uint8_t>(head[1]);
    if (head[0] != '\xFF' || marker == 0) fail(concat("has a malformed segment at byte ", offset));
    if (marker == 0xFF) {  // filling
      ++offset;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) break;  // pixels, end
    const std::size_t length = big_endian(head.substr(2));
    if (length < 2) fail(concat("has a malformed segment at byte ", offset));
    const std::string_view data = part(offset + 4, length - 2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && info.size.width == 0) {
      if (data.size() < 6) fail(concat("has a malformed segment at byte ", offset));
      info.size = {static_cast<int>(big_endian(data.substr(3, 2))), static_cast<int>(big_endian(data.substr(1, 2)))};
      info.components = static_cast<std::uint8_t>(data[5]);
    }
    if (marker == 0xFE && info.remarks.size() < kMaxRemarks) info.remarks.emplace_back(data);
    if (marker == 0xE1 && data.starts_with(kExifBegin) && !exif) {
      exif = true;
      info.comment = exif_comment(data.substr(kExifBegin.size()));
      info.orientation = exif_orientation(data.substr(kExifBegin.size()));
    }
    if (marker == 0xE1 && data.starts_with(kXmpBegin) && info.xmp.empty()) info.xmp = data.substr(kXmpBegin.size());
    offset += 2 + length;
  }
  if (info.size.width == 0 || info.size.height == 0) fail("does not say how many pixels it has");
  info.pixels_at = offset;
  return info;
}

Image decode_jpeg(std::string_view bytes, const std::string& who, Size size) {
  const std::unique_ptr<void, int (*)(void*)> decoder(tjInitDecompress(), &tjDestroy);
  if (!decoder) throw std::bad_alloc();
  const auto check = [&](int result) {
    const std::string why = result == 0 ? "" : tjGetErrorStr2(decoder.get());
    // Bytes between two segments are harmless; everything else that it warns of is a picture with parts missing.
    if (why.empty() ||
        (tjGetErrorCode(decoder.get()) == TJERR_WARNING && why.find("extraneous bytes") != std::string::npos))
      return;
    if (why.find("emory") != std::string::npos) throw std::bad_alloc();
    throw Error(Fault::input, concat(who, ": its pixels are damaged or of an unknown kind (", printable(why), ")"));
  };
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int subsampling = 0, colours = 0;
  Image image;
  check(tjDecompressHeader3(decoder.get(), data, bytes.size(), &image.width, &image.height, &subsampling, &colours));
  if (image.width != size.width || image.height != size.height)
    throw Error(Fault::input, concat(who, ": says two sizes, ", size.width, "x", size.height, " and ", image.width, "x",
                                     image.height));
  image.rgb.resize(std::size_t{3} * image.width * image.height);
  // As Pillow has it: the exact cosine transform, and colours interpolated. Hundreds of scans over all pixels are not a
  // picture but an attack on the reader's time.
  check(tjDecompress2(decoder.get(), data, bytes.size(), image.rgb.data(), image.width, /*pitch=*/0, image.height,
                      TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS));
  return image;
}

namespace {

std::vector<std::byte> encode_as_jpeg(const Image& image, const PictureTexts& texts, const EncodeOptions& options) {
  return encode_jpeg(image, {texts.parameters, texts.record, xmp_packet({texts.source_type})}, options.warn,
                     options.quality.value_or(kJpeg.quality));
}

// A JPEG's pixels end with a marker; inside them 0xFF is never followed by its code. Where it is missing, the decoder
// would make up the rest.
bool ends(std::string_view jpeg) { return jpeg.rfind("\xFF\xD9") != std::string_view::npos; }

PictureInfo info_of_jpeg(std::string_view bytes, const std::string& who) {
  const JpegInfo info = jpeg_info(bytes, who);
  return {info.size, info.orientation};
}

PictureTexts texts_of_jpeg(std::string_view bytes, const std::string& who) {
  const JpegInfo info = jpeg_info(bytes, who);
  PictureTexts found{.parameters = info.comment, .source_type = read_xmp(info.xmp).source_type};
  for (const std::string& remark : info.remarks) {
    const bool record = remark.starts_with(kRecordBegin);
    if (record && found.record.empty()) found.record = remark;
    found.others.push_back({record ? kRecordKeyword : "comment", remark});
  }
  return found;
}

std::vector<std::uint8_t> samples_of_jpeg(std::string_view bytes, const std::string& who, const PictureInfo& picture,
                                          int) {
  const JpegInfo info = jpeg_info(bytes, who);
  if (info.components != 1 && info.components != 3)
    throw Error(Fault::input,
                concat(who, ": is a JPEG of ", info.components, " components (inks, CMYK); save it as RGB first"));
  if (!ends(bytes.substr(info.pixels_at)))
    throw Error(Fault::input, concat(who, ": ends within its pixels (incomplete download?)"));
  return decode_jpeg(bytes, who, picture.size).rgb;
}

}  // namespace

constinit const ImageFormat kJpeg{.name = "JPEG",
                                  .word = "jpeg",
                                  .alias = "jpg",
                                  .ending = ".jpg",
                                  .most_side = 65535,
                                  .quality = 95,
                                  .takes_quality = true,
                                  .library = "libjpeg-turbo",
                                  .version = [] { return std::string(SDGEN_TURBOJPEG_VERSION); },
                                  .open = nullptr,
                                  .encode = encode_as_jpeg,
                                  .info = info_of_jpeg,
                                  .texts = texts_of_jpeg,
                                  .samples = samples_of_jpeg};

}  // namespace sdgen
