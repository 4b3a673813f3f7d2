// Any bytes are a PNG file, whose texts are valid UTF-8, or are refused with Error(input).
#include <zlib.h>

#include "fuzz.h"
#include "image/big_endian.h"
#include "image/picture.h"
#include "image/png.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

std::string number(std::size_t value) {
  std::string bytes;
  append_big_endian(bytes, static_cast<std::uint32_t>(value), 4);
  return bytes;
}

std::string compressed(std::string_view bytes) {
  std::string out(::compressBound(bytes.size()), '\0');
  uLongf size = out.size();
  ::compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(),
              1);
  out.resize(size);
  return out;
}

// The chunks with lengths that fit, right checksums, and, where asked for, their data compressed: what mutations
// would hardly ever hit on.
std::string repaired(std::string_view file, bool pack) {
  std::string out = "\x89PNG\r\n\x1a\n";
  file.remove_prefix(std::min<std::size_t>(file.size(), 8));
  while (file.size() >= 12) {
    const std::size_t length = std::min<std::size_t>(big_endian(file.substr(0, 4)), file.size() - 12);
    const std::string_view type = file.substr(4, 4);
    std::string data(file.substr(8, length));
    if (pack && type == "IDAT") data = compressed(data);
    if (const std::size_t nul = data.find('\0'); pack && type == "zTXt" && nul != std::string::npos && nul + 2 < length)
      data = data.substr(0, nul + 2) + compressed(std::string_view(data).substr(nul + 2));
    const std::string body = std::string(type) + data;
    out += number(data.size()) + body +
           number(::crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
    file.remove_prefix(12 + length);
  }
  return out;
}

void read(std::string_view bytes) {
  constexpr int most = 1 << 20;  // pixels: slowness on large ones is not a finding
  accepts({Fault::input}, [&] {
    for (const PictureText& entry : png_texts(bytes, "fuzz")) {
      fuzz::require(valid_utf8_prefix(entry.text) == entry.text.size(), "the text is UTF-8", entry.text);
      fuzz::require(valid_utf8_prefix(entry.keyword) == entry.keyword.size(), "the keyword is UTF-8", entry.keyword);
    }
  });
  accepts({Fault::input}, [&] { png_size(bytes, "fuzz"); });
  accepts({Fault::input}, [&] {
    const Size size = check_png(bytes, "fuzz").size;
    if (std::int64_t{size.width} * size.height > most) return;
    const Image image = decode_picture(bytes, "fuzz");
    fuzz::require(image.rgb.size() == std::size_t{3} * image.width * image.height, "all pixels are there");
    fuzz::require(image.width * image.height == size.width * size.height, "the size that was promised");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view file = fuzz::text_of(bytes, size);
  read(file);
  read(repaired(file, false));
  read(repaired(file, true));
  return 0;
}
