#include "io/exif.h"

#include <cstddef>
#include <cstdint>
#include <optional>

#include "io/utf8.h"

namespace sdgen {
namespace {

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
    const std::uint64_t bytes = std::uint64_t{*size} * (*type == 4   ? 4
                                                        : *type == 3 ? 2
                                                                     : 1);  // LONG, SHORT; else UNDEFINED, ASCII
    const std::uint64_t begin = bytes <= 4 ? entry + 8 : *value;
    if (begin > tiff.size() || bytes > tiff.size() - begin) return std::nullopt;
    return tiff.substr(begin, bytes);
  }
  return std::nullopt;
}

// A TIFF structure: its byte order, and where its first directory begins.
struct Tiff {
  std::string_view bytes;
  bool big_endian;
  std::uint32_t first;
};

std::optional<Tiff> open_tiff(std::string_view bytes) {
  const bool big_endian = bytes.starts_with("MM\0*"sv);
  if (!big_endian && !bytes.starts_with("II*\0"sv)) return std::nullopt;
  const auto first = number(bytes, 4, 4, big_endian);
  return first ? std::optional<Tiff>({bytes, big_endian, *first}) : std::nullopt;
}

}  // namespace

std::string exif_comment(std::string_view bytes) {
  const auto tiff = open_tiff(bytes);
  if (!tiff) return "";
  const auto pointer = tag_data(bytes, tiff->first, 0x8769, tiff->big_endian);  // the Exif directory
  const auto exif = pointer ? number(*pointer, 0, 4, tiff->big_endian) : std::nullopt;
  const auto data = exif ? tag_data(bytes, *exif, 0x9286, tiff->big_endian) : std::nullopt;
  if (!data || data->size() < 8) return "";
  const std::string_view code = data->substr(0, 8), text = data->substr(8);
  std::string comment = code == "UNICODE\0"sv ? from_utf16(text, tiff->big_endian) : repair_utf8(text);
  while (!comment.empty() && comment.back() == '\0') comment.pop_back();
  return comment;
}

int exif_orientation(std::string_view bytes) {
  const auto tiff = open_tiff(bytes);
  const auto data = tiff ? tag_data(bytes, tiff->first, 0x0112, tiff->big_endian) : std::nullopt;
  const std::uint32_t value = data ? number(*data, 0, 2, tiff->big_endian).value_or(1) : 1;
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

}  // namespace sdgen
