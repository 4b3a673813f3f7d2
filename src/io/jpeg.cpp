#include "io/jpeg.h"

#include <stb_image_write.h>

#include <cstdint>
#include <new>
#include <span>
#include <string_view>

#include "io/exif.h"
#include "io/file.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::size_t kMaxSegments = 10'000;

using namespace std::string_view_literals;

// `size` big-endian bytes at `at`.
std::uint32_t big_endian(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + size; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

constexpr std::size_t kMaxRemarks = 16;
constexpr std::size_t kMaxSegment = 65533;  // bytes behind the two of its length
constexpr int kQuality = 95;

// Marker, length, data. Nothing for data that no segment holds.
std::string segment(char marker, std::string_view data) {
  if (data.empty() || data.size() > kMaxSegment) return "";
  const std::size_t length = data.size() + 2;
  return concat('\xFF', marker, static_cast<char>(length >> 8), static_cast<char>(length & 0xFF), data);
}

}  // namespace

std::vector<std::byte> encode_jpeg(const Image& image, const JpegTexts& texts,
                                   const std::function<void(const std::string&)>& warn) {
  constexpr int most = 65535;
  if (image.width < 1 || image.height < 1 || image.width > most || image.height > most ||
      image.rgb.size() != std::size_t{3} * image.width * image.height)
    throw Error(Fault::internal, concat("an image of ", image.width, "x", image.height, " pixels and ",
                                        image.rgb.size(), " bytes cannot be written as JPEG"));
  std::string words;
  const auto add = [&](char marker, const std::string& data, const char* what) {
    words += segment(marker, data);
    if (data.size() > kMaxSegment)
      warn(concat(what, " take ", data.size(), " bytes, and a JPEG file holds ", kMaxSegment,
                  " at most: they are left out (PNG has room)"));
  };
  if (!texts.comment.empty())
    add('\xE1', concat("Exif\0\0"sv, exif_of_comment(texts.comment)), "the prompt and settings in its EXIF block");
  add('\xFE', texts.remark, "the settings in its comment");

  std::string file;
  const auto write = [](void* out, void* bytes, int size) {
    static_cast<std::string*>(out)->append(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  };
  if (stbi_write_jpg_to_func(write, &file, image.width, image.height, 3, image.rgb.data(), kQuality) == 0)
    throw std::bad_alloc();
  // Its own JFIF segment stays the first one.
  const std::size_t behind = 2 + 2 + big_endian(file, 4, 2);
  file.insert(behind, words);
  const auto bytes = std::as_bytes(std::span(file));
  return {bytes.begin(), bytes.end()};
}

bool is_jpeg(const std::filesystem::path& path) {
  std::string head(3, '\0');
  const std::size_t size = InputFile(path).read_some(0, std::as_writable_bytes(std::span(head)));
  return size == head.size() && head == "\xFF\xD8\xFF";
}

JpegInfo read_jpeg_info(const std::filesystem::path& path) {
  const InputFile file(path);
  const auto fail = [&](const std::string& what) { throw Error(Fault::input, path.string() + ": " + what); };
  const auto read = [&](std::uint64_t offset, std::uint64_t size) {
    if (offset > file.size() || size > file.size() - offset) fail("ends before its pixels (incomplete download?)");
    std::string bytes(size, '\0');
    file.read(offset, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  };
  if (!is_jpeg(path)) fail("is not a JPEG file");
  JpegInfo info;
  bool exif = false;
  std::uint64_t offset = 2;
  for (std::size_t count = 0;; ++count) {
    if (count == kMaxSegments) fail(concat("has more than ", kMaxSegments, " segments before its pixels"));
    const std::string head = read(offset, 4);
    const std::uint8_t marker = head[1];
    if (head[0] != '\xFF' || marker == 0) fail(concat("has a malformed segment at byte ", offset));
    if (marker == 0xFF) {  // filling
      ++offset;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) break;  // pixels, end
    const std::uint64_t length = big_endian(head, 2, 2);
    if (length < 2) fail(concat("has a malformed segment at byte ", offset));
    const std::string data = read(offset + 4, length - 2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && info.size.width == 0) {
      if (data.size() < 6) fail(concat("has a malformed segment at byte ", offset));
      info.size = {static_cast<int>(big_endian(data, 3, 2)), static_cast<int>(big_endian(data, 1, 2))};
      info.components = static_cast<std::uint8_t>(data[5]);
    }
    if (marker == 0xFE && info.remarks.size() < kMaxRemarks) info.remarks.push_back(data);
    if (marker == 0xE1 && data.starts_with("Exif\0\0"sv) && !exif) {
      exif = true;
      info.comment = exif_comment(std::string_view(data).substr(6));
      info.orientation = exif_orientation(std::string_view(data).substr(6));
    }
    offset += 2 + length;
  }
  if (info.size.width == 0 || info.size.height == 0) fail("does not say how many pixels it has");
  info.pixels_at = offset;
  return info;
}

// Goes from marker to marker as the decoder does. Inside of pixels both take every 0xFF that neither a zero nor a
// restart marker follows for one, so that no table is seen there alone.
void check_huffman_tables(const std::filesystem::path& path, std::string_view bytes) {
  const auto byte = [&](std::size_t at) {  // the decoder, too, reads zeros behind the end
    return at < bytes.size() ? static_cast<std::uint8_t>(bytes[at]) : std::uint8_t{0};
  };
  constexpr std::uint8_t huffman = 0xC4, restart = 0xD0, begin = 0xD8, end = 0xD9, filling = 0xFF;
  std::size_t at = 2;
  while ((at = bytes.find('\xFF', at)) != std::string_view::npos) {
    const std::uint8_t marker = byte(++at);
    if (marker == 0 || marker == filling || (marker >= restart && marker <= begin)) continue;
    const std::size_t length = byte(at + 1) << 8 | byte(at + 2), next = at + 1 + length;
    if (marker == end || length < 2) return;
    if (marker == huffman)
      for (std::size_t table = at + 3; table < next;) {
        std::size_t codes = 0;
        for (std::size_t i = 1; i <= 16; ++i) codes += byte(table + i);
        if (codes > 256)
          throw Error(Fault::input, concat(path.string(), ": is damaged: the Huffman table at byte ", table, " has ",
                                           codes, " codes, at most 256 are possible"));
        table += 17 + codes;
      }
    at = next;
  }
}

}  // namespace sdgen
