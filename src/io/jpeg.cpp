#include "io/jpeg.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "io/file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::size_t kMaxSegments = 10'000;

using namespace std::string_view_literals;

// `size` bytes at `at` as a number; empty beyond the end.
std::optional<std::uint32_t> number(std::string_view bytes, std::size_t at, std::size_t size, bool big_endian) {
  if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value = value << 8 | static_cast<std::uint8_t>(bytes[at + (big_endian ? i : size - 1 - i)]);
  return value;
}

void append_utf8(std::string& out, std::uint32_t c) {
  const auto tail = [&out, c](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6), tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12), tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0);
  }
}

// The standard gives UTF-16 the byte order of its EXIF block, writers do not keep to that: where most characters are
// Latin, the zero bytes tell.
std::string from_utf16(std::string_view bytes, bool big_endian) {
  std::size_t zeros[2] = {0, 0};
  for (std::size_t i = 0; i < bytes.size(); ++i) zeros[i % 2] += bytes[i] == '\0';
  if (zeros[0] != zeros[1]) big_endian = zeros[0] > zeros[1];
  std::string out;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const std::uint32_t unit = *number(bytes, i, 2, big_endian);
    const std::uint32_t next = number(bytes, i + 2, 2, big_endian).value_or(0);
    if (unit >= 0xD800 && unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      append_utf8(out, 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00));
      i += 2;
    } else {
      append_utf8(out, unit >= 0xD800 && unit < 0xE000 ? 0xFFFD : unit);
    }
  }
  return out;
}

// The data of a tag of an image file directory, which begins at byte `ifd` of the TIFF structure.
std::optional<std::string_view> tag_data(std::string_view tiff, std::size_t ifd, std::uint32_t tag, bool big_endian) {
  const std::size_t count = number(tiff, ifd, 2, big_endian).value_or(0);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = ifd + 2 + 12 * i;
    const auto found = number(tiff, entry, 2, big_endian);
    if (!found) return std::nullopt;
    if (*found != tag) continue;
    const auto type = number(tiff, entry + 2, 2, big_endian), size = number(tiff, entry + 4, 4, big_endian);
    const auto value = number(tiff, entry + 8, 4, big_endian);
    if (!type || !size || !value) return std::nullopt;
    const std::uint64_t bytes = std::uint64_t{*size} * (*type == 4 ? 4 : 1);  // LONG; else UNDEFINED, ASCII
    const std::uint64_t begin = bytes <= 4 ? entry + 8 : *value;
    if (begin > tiff.size() || bytes > tiff.size() - begin) return std::nullopt;
    return tiff.substr(begin, bytes);
  }
  return std::nullopt;
}

std::string user_comment(std::string_view tiff) {
  const bool big_endian = tiff.starts_with("MM\0*"sv);
  if (!big_endian && !tiff.starts_with("II*\0"sv)) return "";
  const auto first = number(tiff, 4, 4, big_endian);
  const auto pointer = first ? tag_data(tiff, *first, 0x8769, big_endian) : std::nullopt;  // the Exif directory
  const auto exif = pointer ? number(*pointer, 0, 4, big_endian) : std::nullopt;
  const auto data = exif ? tag_data(tiff, *exif, 0x9286, big_endian) : std::nullopt;
  if (!data || data->size() < 8) return "";
  const std::string_view code = data->substr(0, 8), text = data->substr(8);
  std::string comment = code == "UNICODE\0"sv ? from_utf16(text, big_endian) : repair_utf8(text);
  while (!comment.empty() && comment.back() == '\0') comment.pop_back();
  return comment;
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
    const std::uint64_t length = *number(head, 2, 2, true);
    if (length < 2) fail(concat("has a malformed segment at byte ", offset));
    const std::string data = read(offset + 4, length - 2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && info.size.width == 0) {
      if (data.size() < 5) fail(concat("has a malformed segment at byte ", offset));
      info.size = {static_cast<int>(*number(data, 3, 2, true)), static_cast<int>(*number(data, 1, 2, true))};
    }
    if (marker == 0xE1 && data.starts_with("Exif\0\0"sv) && info.comment.empty())
      info.comment = user_comment(std::string_view(data).substr(6));
    offset += 2 + length;
  }
  if (info.size.width == 0 || info.size.height == 0) fail("does not say how many pixels it has");
  return info;
}

}  // namespace sdgen
