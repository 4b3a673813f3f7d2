#include "io/jpeg.h"

#include <cstdint>
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

}  // namespace

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

}  // namespace sdgen
