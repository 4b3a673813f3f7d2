#include "io/file_format.h"

#include <utility>

namespace sdgen {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::string_view name;
  std::size_t at;
  std::string_view bytes;
  std::string_view more = ""sv;  // and these,
  std::size_t more_at = 0;       // there; 0: anywhere from 8 on, where ISO's media files have their brands
};

constexpr Signature kSignatures[] = {
    {"a PNG picture", 0, kPngBegin},
    {"a JPEG picture", 0, kJpegBegin},
    {"a WebP picture", 0, "RIFF"sv, "WEBP"sv, 8},
    {"a GIF picture", 0, "GIF8"sv},
    {"an AVIF picture", 4, "ftyp"sv, "avif"sv},
    {"an AVIF picture", 4, "ftyp"sv, "avis"sv},
    {"a HEIC picture", 4, "ftyp"sv, "hei"sv},
    {"a HEIC picture", 4, "ftyp"sv, "hevc"sv},
    {"a HEIC picture", 4, "ftyp"sv, "mif1"sv},
    {"a JPEG XL picture", 0, "\xFF\x0A"sv},
    {"a JPEG XL picture", 0, "\0\0\0\x0CJXL \r\n\x87\n"sv},
    {"a JPEG 2000 picture", 0, "\0\0\0\x0CjP  \r\n\x87\n"sv},
    {"a TIFF picture", 0, "II*\0"sv},
    {"a TIFF picture", 0, "MM\0*"sv},
    {"a BMP picture", 0, "BM"sv, "\0\0\0\0"sv, 6},
    {"an OpenEXR picture", 0, "v/1\x01"sv},
    {"a Photoshop picture", 0, "8BPS"sv},
    {"a PDF document", 0, "%PDF-"sv},
    {"a ZIP archive (.zip, .xlsx, .docx, .pt)", 0, "PK\x03\x04"sv},
    {"an old Office document (.xls, .doc)", 0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv},
    {"compressed by gzip", 0, "\x1F\x8B"sv},
    {"compressed by zstd", 0, "\x28\xB5\x2F\xFD"sv},
    {"compressed by xz", 0,
     "\xFD"
     "7zXZ\0"sv},
    {"an SQLite database", 0, "SQLite format 3\0"sv},
    {"a GGUF file of weights", 0, "GGUF"sv, "\0\0"sv, 6},
    {"a pickle file of weights", 0, "\x80\x02"sv},
};

// A safetensors file begins with the length of its header, which is JSON.
bool is_safetensors(std::string_view head) {
  return head.size() > 9 && head.substr(5, 3) == "\0\0\0"sv && head.substr(8, 2) == "{\""sv;
}

}  // namespace

std::string_view format_of(std::string_view head) {
  head = head.substr(0, kFormatHead);
  // First: the length of its header may look like any other beginning.
  if (is_safetensors(head)) return "a safetensors file of weights";
  for (const Signature& s : kSignatures) {
    if (head.size() < s.at || !head.substr(s.at).starts_with(s.bytes)) continue;
    const std::size_t found = head.find(s.more, s.more_at ? s.more_at : 8);
    if (s.more.empty() || (s.more_at ? found == s.more_at : found != head.npos)) return s.name;
  }
  return "";
}

std::string_view picture_format_of_ending(std::string_view ending) {
  // IANA's media types of pictures, and what else programs write.
  static constexpr std::pair<std::string_view, std::string_view> kEndings[] = {
      {"PNG", ".png"},
      {"JPEG", ".jpg .jpeg .jpe .jfif .jif .jfi"},
      {"WebP", ".webp"},
      {"GIF", ".gif"},
      {"AVIF", ".avif .avifs"},
      {"HEIC", ".heic .heif .heics .heifs .hif"},
      {"JPEG XL", ".jxl"},
      {"JPEG 2000", ".jp2 .j2k .jpf .jpx .jpm .jpc .j2c"},
      {"TIFF", ".tif .tiff"},
      {"BMP", ".bmp .dib"},
      {"TGA", ".tga .targa .vda .icb .vst"},
      {"Netpbm", ".pbm .pgm .ppm .pnm .pam .pfm"},
      {"OpenEXR", ".exr"},
      {"Radiance HDR", ".hdr"},
      {"Photoshop", ".psd .psb"},
      {"GIMP", ".xcf"},
      {"icon", ".ico .cur .icns"},
      {"SVG", ".svg .svgz"},
      {"DDS", ".dds"},
      {"QOI", ".qoi"},
      {"PCX", ".pcx"},
      {"APNG", ".apng"},
      {"PDF", ".pdf"},
      {"EPS", ".eps .ps"},
      {"raw", ".dng .cr2 .cr3 .nef .arw .raf .rw2 .orf"},
  };
  if (ending.size() < 2 || ending.find(' ') != ending.npos) return "";
  for (const auto& [format, endings] : kEndings)
    for (std::size_t at = endings.find(ending); at != endings.npos; at = endings.find(ending, at + 1))
      if (at + ending.size() == endings.size() || endings[at + ending.size()] == ' ') return format;
  return "";
}

std::string_view picture_format_of(std::string_view head) {
  constexpr std::string_view end = " picture";
  std::string_view format = format_of(head);
  if (!format.ends_with(end)) return "";
  format.remove_suffix(end.size());
  return format.substr(format.find(' ') + 1);  // "a", "an"
}

}  // namespace sdgen
