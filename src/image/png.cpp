#include "image/png.h"

#include <zlib.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <string_view>

#include "image/big_endian.h"
#include "image/exif.h"
#include "image/xmp.h"
#include "io/file.h"
#include "io/file_format.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "sdgen/picture.h"

namespace {

// stb_image_write filters the rows and calls this to compress them. Z_RLE (matches of distance 1 only) suits filtered
// pictures: flat areas are runs, textures are noise in which longer matches cost more than they save. Measured on
// 512x512 pixels, kilobytes and milliseconds (filtering included, 8 ms or more):
//                          photo-like    smooth, faint noise    emoji on a flat ground
//   stb's own compressor   588, 160      333, 110              83, 42
//   zlib level 6           385,  95      218,  82               62, 17
//   zlib Z_HUFFMAN_ONLY    338,  18      192,  19               141, 15
//   zlib Z_RLE             339,  19      209,  20               59, 10
unsigned char* compress_for_stb(unsigned char* data, int size, int* compressed_size, int /*quality*/) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, /*windowBits=*/15, /*memLevel=*/8, Z_RLE) != Z_OK) {
    return nullptr;
  }
  const uLong bound = deflateBound(&stream, static_cast<uLong>(size));
  auto* out = static_cast<unsigned char*>(std::malloc(bound));  // stb frees it
  stream.next_in = data;
  stream.avail_in = static_cast<uInt>(size);
  stream.next_out = out;
  stream.avail_out = static_cast<uInt>(bound);
  const bool done = out != nullptr && deflate(&stream, Z_FINISH) == Z_STREAM_END;
  *compressed_size = static_cast<int>(stream.total_out);
  deflateEnd(&stream);
  if (done) return out;
  std::free(out);
  return nullptr;
}

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBIW_ZLIB_COMPRESS compress_for_stb
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace sdgen {
namespace {

constexpr std::size_t kFirstChunkEnd = 8 + 25;  // the signature and the IHDR chunk
constexpr std::uint64_t kMaxText = 16u << 20;   // bytes of text that png_texts() reads, after decompression
constexpr std::size_t kMaxChunks = 1'000'000;   // that it looks at

std::uint32_t crc_of(std::string_view type_and_data) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(type_and_data.data()), type_and_data.size()));
}

void append_chunk(std::string& out, std::string_view type, std::string_view data) {
  const std::string body = concat(type, data);
  append_big_endian(out, static_cast<std::uint32_t>(data.size()), 4);
  out += body;
  append_big_endian(out, crc_of(body), 4);
}

// Latin-1 bytes of a keyword that the standard allows (11.3.3.2).
bool is_keyword(std::string_view latin1) {
  const auto printable = [](unsigned char c) { return (c >= 0x20 && c <= 0x7E) || c >= 0xA1; };
  return !latin1.empty() && latin1.size() <= 79 && std::all_of(latin1.begin(), latin1.end(), printable) &&
         latin1.front() != ' ' && latin1.back() != ' ' && latin1.find("  ") == std::string_view::npos;
}

// The text without what no chunk can hold.
std::string storable(std::string_view text) {
  std::string out = repair_utf8(text);
  for (std::size_t at = 0; (at = out.find('\0', at)) != std::string::npos;) out.replace(at, 1, "\xEF\xBF\xBD");
  return out;
}

void append_text_chunk(std::string& out, const PictureText& entry) {
  const bool valid = valid_utf8_prefix(entry.keyword) == entry.keyword.size();
  const std::optional<std::string> keyword = valid ? latin1_from_utf8(entry.keyword) : std::nullopt;
  if (!keyword || !is_keyword(*keyword)) {
    throw Error(Fault::internal, "'" + printable(entry.keyword) + "' is not a keyword for a text in a PNG file");
  }
  const std::string text = storable(entry.text);
  if (text.size() > INT_MAX - 100) throw Error(Fault::internal, "a text of 2 GiB does not fit into a PNG file");
  using namespace std::string_literals;
  if (const std::optional<std::string> latin1 = latin1_from_utf8(text)) {
    append_chunk(out, "tEXt", *keyword + "\0"s + *latin1);
  } else {  // not compressed, no language, no translated keyword
    append_chunk(out, "iTXt", *keyword + "\0\0\0\0\0"s + text);
  }
}

// zlib data of at most `limit` bytes; empty when damaged or longer.
std::optional<std::string> decompress(std::string_view data, std::size_t limit) {
  std::string out(std::min<std::size_t>(limit, std::max<std::size_t>(4 * data.size(), 1024)), '\0');
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> end(&stream, &inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  for (;;) {
    stream.next_out = reinterpret_cast<Bytef*>(out.data()) + stream.total_out;
    stream.avail_out = static_cast<uInt>(out.size() - stream.total_out);
    const int status = inflate(&stream, Z_NO_FLUSH);
    if (status == Z_STREAM_END) break;
    if (status != Z_OK || stream.avail_out != 0 || out.size() >= limit) return std::nullopt;
    out.resize(std::min(limit, 2 * out.size()));
  }
  out.resize(stream.total_out);
  return out;
}

// Splits off what comes before the next NUL; empty if there is none.
std::optional<std::string_view> take_until_nul(std::string_view& data) {
  const std::size_t at = data.find('\0');
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view head = data.substr(0, at);
  data.remove_prefix(at + 1);
  return head;
}

// One text chunk's data; empty when it is malformed. Sections 11.3.3.2 to 11.3.3.4.
std::optional<PictureText> parse_text(std::string_view type, std::string_view data, std::size_t limit) {
  const auto keyword = take_until_nul(data);
  if (!keyword || !is_keyword(*keyword)) return std::nullopt;
  bool compressed = type == "zTXt";
  if (type != "tEXt") {
    if (type == "iTXt") {
      if (data.empty() || data.front() < 0 || data.front() > 1) return std::nullopt;
      compressed = data.front() == 1;
      data.remove_prefix(1);
    }
    if (data.empty() || (compressed && data.front() != 0)) return std::nullopt;  // method 0: zlib
    data.remove_prefix(1);
  }
  if (type == "iTXt" && (!take_until_nul(data) || !take_until_nul(data))) return std::nullopt;  // language, translation
  std::optional<std::string> text = compressed ? decompress(data, limit) : std::optional<std::string>(data);
  if (!text) return std::nullopt;
  if (type != "iTXt") text = utf8_from_latin1(*text);
  if (valid_utf8_prefix(*text) != text->size()) return std::nullopt;
  return PictureText{utf8_from_latin1(*keyword), *std::move(text)};
}

struct Chunk {
  std::size_t at;  // of the file
  std::string_view type, data;
  bool intact;  // by its checksum
};

class Chunks {
 public:
  Chunks(std::string_view bytes, const std::string& who) : bytes_(bytes), who_(who) {
    if (!is_png(bytes)) fail("is not a PNG file");
  }
  [[noreturn]] void fail(const std::string& what) const { throw Error(Fault::input, who_ + ": " + what); }

  Chunk next() {
    if (count_++ == kMaxChunks) fail(concat("has more than ", kMaxChunks, " chunks"));
    if (bytes_.size() - at_ < 8) fail("ends within a chunk (incomplete download?)");
    const std::size_t length = big_endian(bytes_.substr(at_, 4));
    const std::string_view type = bytes_.substr(at_ + 4, 4);
    if (length > INT_MAX || (count_ == 1) != (type == "IHDR") || (type == "IHDR" && length != 13))
      fail(concat("has a malformed chunk at byte ", at_));
    if (length + 12 > bytes_.size() - at_) fail("ends within a chunk (incomplete download?)");
    const bool intact = crc_of(bytes_.substr(at_ + 4, 4 + length)) == big_endian(bytes_.substr(at_ + 8 + length, 4));
    const Chunk chunk{at_, type, bytes_.substr(at_ + 8, length), intact};
    at_ += 12 + length;
    return chunk;
  }
  Chunk next_intact() {
    const Chunk chunk = next();
    require_intact(chunk);
    return chunk;
  }
  void require_intact(const Chunk& chunk) const {
    if (!chunk.intact) fail(concat("has a wrong checksum in the chunk at byte ", chunk.at));
  }
  // The first chunk's.
  Size size() {
    const std::string_view data = next_intact().data;
    const std::uint32_t width = big_endian(data.substr(0, 4)), height = big_endian(data.substr(4, 4));
    if (width == 0 || height == 0 || width > INT_MAX || height > INT_MAX)
      fail(concat("says that it has ", width, "x", height, " pixels"));
    return {static_cast<int>(width), static_cast<int>(height)};
  }

 private:
  std::string_view bytes_;
  const std::string& who_;
  std::size_t at_ = kPngBegin.size(), count_ = 0;
};

}  // namespace

namespace {

constexpr const char* kXmpKeyword = "XML:com.adobe.xmp";

std::vector<std::byte> encode_as_png(const Image& image, const PictureTexts& said, const EncodeOptions&) {
  std::vector<PictureText> texts;
  if (!said.parameters.empty()) texts.push_back({"parameters", said.parameters});
  if (!said.record.empty()) texts.push_back({kRecordKeyword, said.record});
  // It begins with a character that is not in Latin-1, so it becomes the iTXt chunk that it has to be.
  if (const std::string xmp = xmp_packet({said.source_type}); !xmp.empty()) texts.push_back({kXmpKeyword, xmp});
  return encode_png(image, texts);
}

PictureInfo info_of_png(std::string_view bytes, const std::string& who) {
  const PngInfo png = check_png(bytes, who);
  return {png.size, exif_orientation(png.exif), /*opacity=*/true};
}

PictureTexts texts_of_png(std::string_view bytes, const std::string& who) {
  PictureTexts found;
  for (PictureText& text : png_texts(bytes, who)) {
    if (text.keyword == kXmpKeyword) {
      const XmpTexts xmp = read_xmp(text.text);
      if (!xmp.source_type.empty()) found.source_type = xmp.source_type;
      continue;
    }
    if (text.keyword == "parameters") {
      found.parameters = std::move(text.text);
      continue;
    }
    if (text.keyword == kRecordKeyword) found.record = text.text;
    found.others.push_back(std::move(text));
  }
  return found;
}

std::vector<std::uint8_t> samples_of_png(std::string_view bytes, const std::string& who, const PictureInfo& info,
                                         int channels) {
  return png_samples(bytes, who, info.size, channels);
}

}  // namespace

constinit const ImageFormat kPng{.name = "PNG",
                                 .word = "png",
                                 .alias = "png",
                                 .ending = ".png",
                                 .most_side = INT_MAX,
                                 .quality = 0,
                                 .takes_quality = false,
                                 .library = "",
                                 .version = nullptr,
                                 .open = nullptr,
                                 .encode = encode_as_png,
                                 .info = info_of_png,
                                 .texts = texts_of_png,
                                 .samples = samples_of_png};

std::vector<std::byte> encode_png(const Image& image, std::span<const PictureText> texts) {
  const auto width = static_cast<std::int64_t>(image.width), height = static_cast<std::int64_t>(image.height);
  // stb counts in int: the filtered rows, and what compression makes of them at worst, must stay below 2^31.
  const bool fits = width > 0 && height > 0 && width <= INT_MAX / 3 - 1 && height <= (INT_MAX / 2) / (3 * width + 1);
  if (!fits || image.rgb.size() != static_cast<std::size_t>(3 * width * height)) {
    throw Error(Fault::internal, concat("an image of ", width, "x", height, " pixels and ", image.rgb.size(),
                                        " bytes cannot be written as PNG"));
  }
  std::string chunks;
  for (const PictureText& text : texts) append_text_chunk(chunks, text);

  int size = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> file(
      stbi_write_png_to_mem(image.rgb.data(), 3 * image.width, image.width, image.height, 3, &size), &std::free);
  if (file == nullptr) throw std::bad_alloc();

  const auto pixels = std::as_bytes(std::span(file.get(), static_cast<std::size_t>(size)));
  const auto text_bytes = std::as_bytes(std::span(chunks));
  std::vector<std::byte> out;
  out.reserve(pixels.size() + text_bytes.size());
  out.insert(out.end(), pixels.begin(), pixels.begin() + kFirstChunkEnd);
  out.insert(out.end(), text_bytes.begin(), text_bytes.end());
  out.insert(out.end(), pixels.begin() + kFirstChunkEnd, pixels.end());
  return out;
}

bool is_png(std::string_view bytes) { return bytes.starts_with(kPngBegin); }

std::vector<PictureText> png_texts(std::string_view bytes, const std::string& who) {
  Chunks chunks(bytes, who);
  std::vector<PictureText> texts;
  std::size_t size = 0;
  for (Chunk chunk = chunks.next(); chunk.type != "IEND"; chunk = chunks.next()) {
    if (chunk.type != "tEXt" && chunk.type != "zTXt" && chunk.type != "iTXt") continue;
    if (chunk.data.size() > kMaxText)
      chunks.fail(
          concat("has ", chunk.data.size(), " bytes of text at byte ", chunk.at, ", at most ", kMaxText, " are read"));
    chunks.require_intact(chunk);
    auto text = parse_text(chunk.type, chunk.data, kMaxText - size);
    if (!text) chunks.fail(concat("has a malformed or too long text at byte ", chunk.at));
    size += text->text.size();
    if (size > kMaxText) chunks.fail(concat("has more than ", kMaxText, " bytes of text"));
    texts.push_back(*std::move(text));
  }
  return texts;
}

PngInfo check_png(std::string_view bytes, const std::string& who) {
  Chunks chunks(bytes, who);
  PngInfo info{chunks.size(), {}};
  for (Chunk chunk = chunks.next_intact(); chunk.type != "IEND"; chunk = chunks.next_intact())
    if (chunk.type == "eXIf" && info.exif.empty()) info.exif = chunk.data;
  return info;
}

Size png_size(std::string_view bytes, const std::string& who) { return Chunks(bytes, who).size(); }

void write_png(const std::filesystem::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image, {}), /*overwrite=*/true);
}

}  // namespace sdgen
