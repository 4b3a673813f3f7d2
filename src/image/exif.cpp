#include "image/exif.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "image/big_endian.h"
#include "io/utf8.h"

namespace sdgen {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr std::uint32_t kExifDirectory = 0x8769, kUserComment = 0x9286;

// `size` bytes at `at` as a number; empty beyond the end.
std::optional<std::uint32_t> number(std::string_view bytes, std::size_t at, std::size_t size, bool is_big_endian) {
  if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
  std::string number(bytes.substr(at, size));
  if (!is_big_endian) std::ranges::reverse(number);
  return big_endian(number);
}

std::string from_utf16(std::string_view bytes, bool big_endian) {
  std::string out;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const std::uint32_t unit = *number(bytes, i, 2, big_endian);
    const std::uint32_t next = number(bytes, i + 2, 2, big_endian).value_or(0);
    if (unit >= 0xD800 && unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      append_utf8(out, 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00));
      i += 2;
    } else {
      append_utf8(out, unit >= 0xD800 && unit < 0xE000 ? kReplacement : char32_t{unit});
    }
  }
  return out;
}

// The standard gives UTF-16 the byte order of its EXIF block, writers do not keep to that. What AUTOMATIC1111 wrote is
// known by a word of it; else, where most characters are Latin, the zero bytes tell.
std::string from_utf16_of_any_order(std::string_view bytes, bool big_endian) {
  std::string as_it_should = from_utf16(bytes, big_endian);
  if (as_it_should.find("Steps: ") != std::string::npos) return as_it_should;
  std::size_t zeros[2] = {0, 0};
  for (std::size_t i = 0; i < bytes.size(); ++i) zeros[i % 2] += bytes[i] == '\0';
  const bool other = zeros[0] != zeros[1] && big_endian != (zeros[0] > zeros[1]);
  return other ? from_utf16(bytes, !big_endian) : as_it_should;
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
  const auto pointer = tag_data(bytes, tiff->first, kExifDirectory, tiff->big_endian);
  const auto exif = pointer ? number(*pointer, 0, 4, tiff->big_endian) : std::nullopt;
  const auto data = exif ? tag_data(bytes, *exif, kUserComment, tiff->big_endian) : std::nullopt;
  if (!data || data->size() < 8) return "";
  const std::string_view code = data->substr(0, 8), text = data->substr(8);
  std::string comment = code == "UNICODE\0"sv ? from_utf16_of_any_order(text, tiff->big_endian) : repair_utf8(text);
  while (!comment.empty() && comment.back() == '\0') comment.pop_back();
  return comment;
}

std::string_view without_exif_begin(std::string_view bytes) {
  constexpr std::string_view begin = "Exif\0\0"sv;
  return bytes.starts_with(begin) ? bytes.substr(begin.size()) : bytes;
}

std::string exif_of_comment(std::string_view text) {
  std::string comment = "UNICODE\0"s;
  const std::string valid = repair_utf8(text);
  for (std::size_t i = 0; i < valid.size();) {
    std::uint32_t c = next_character(valid, i);
    if (c == 0) c = kReplacement;
    if (c < 0x10000) {
      append_big_endian(comment, c, 2);
    } else {
      append_big_endian(comment, 0xD800 + ((c - 0x10000) >> 10), 2);
      append_big_endian(comment, 0xDC00 + (c & 0x3FF), 2);
    }
  }
  // Two directories of one entry each; an entry is tag, type, count, and the value or where it is.
  constexpr std::uint32_t header = 8, directory = 2 + 12 + 4, kLong = 4, kUndefined = 7;
  std::string block = "MM\0*"s;
  append_big_endian(block, header, 4);
  const auto add_directory = [&block](std::uint32_t tag, std::uint32_t type, std::uint32_t count, std::uint32_t value) {
    append_big_endian(block, 1, 2);
    append_big_endian(block, tag, 2);
    append_big_endian(block, type, 2);
    append_big_endian(block, count, 4);
    append_big_endian(block, value, 4);
    append_big_endian(block, 0, 4);  // no further directory
  };
  add_directory(kExifDirectory, kLong, 1, header + directory);
  add_directory(kUserComment, kUndefined, static_cast<std::uint32_t>(comment.size()), header + 2 * directory);
  return block + comment;
}

int exif_orientation(std::string_view bytes) {
  const auto tiff = open_tiff(bytes);
  const auto data = tiff ? tag_data(bytes, tiff->first, 0x0112, tiff->big_endian) : std::nullopt;
  const std::uint32_t value = data ? number(*data, 0, 2, tiff->big_endian).value_or(1) : 1;
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

}  // namespace sdgen
