// The formats of picture files. What is known of one is a row, and what it takes to read and to write it is a file of
// its own: png.cpp, jpeg.cpp, webp.cpp, avif.cpp, jxl.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// A text in a picture. `keyword` says what it is: "parameters", "Software", "comment", ... Both are UTF-8; the text of
// a JPEG's comment may be any bytes.
struct PictureText {
  std::string keyword;
  std::string text;
};

// What a record is called among a picture's texts (cli/record.h), and how one begins where texts have no names.
constexpr const char* kRecordKeyword = "sdgen";
constexpr std::string_view kRecordBegin = "{\"sdgen\":";

// What a picture says in words. Writing takes the first three; "": it does not say so.
struct PictureTexts {
  std::string parameters = {};   // of AUTOMATIC1111's form, UTF-8
  std::string record = {};       // sdgen's, ASCII
  std::string source_type = {};  // IPTC's DigitalSourceType, the URI of a word of theirs: see xmp.h
  std::vector<PictureText> others =
      {};  // as they are read, in the file's order: all but `parameters` and the XMP packet
};

struct EncodeOptions {
  std::optional<int> quality = {};  // 1 to 100, of a format that has it; none: the format's own default
  std::function<void(const std::string&)> warn = [](const std::string&) {};  // gets what is left out of a picture
};

// What a file says before its pixels are decoded.
struct PictureInfo {
  Size size;             // of the pixels as they lie in the file
  int orientation = 1;   // see exif.h
  bool opacity = false;  // may some of it be transparent?
};

// `who` begins the messages of errors: the file's name.
struct ImageFormat {
  // "PNG": what picture_format_of() and picture_format_of_ending() (io/file_format.h) call it.
  std::string_view name;
  std::string_view word;               // of --format
  std::string_view alias;              // another such word, or the same
  std::string_view ending;             // of the names that the program makes: ".png"
  int most_side;                       // pixels: what a file can hold
  int quality;                         // that is written by default; 0: files lose nothing by default
  bool takes_quality;                  // --quality means something
  std::string_view library;            // that reads and writes it; "": more than one, in sdgen itself
  std::string (*version)() = nullptr;  // of it, as it runs
  // Opens the library, where that is not done at the start; else null. Throws Error when it cannot be opened.
  void (*open)() = nullptr;
  // A whole file; this function and those below are null where sdgen was built without the library. Equal pictures,
  // texts and options make equal bytes. A text must not cost the picture: one that the format has no room for is left
  // out, with a warning. Throws Error(internal) when the image's size and data disagree or a side is longer than
  // `most_side`.
  std::vector<std::byte> (*encode)(const Image& image, const PictureTexts& texts,
                                   const EncodeOptions& options) = nullptr;
  // Without decoding pixels. Throws Error(input) for a file that is damaged so far.
  PictureInfo (*info)(std::string_view bytes, const std::string& who) = nullptr;
  // Likewise. A block that is malformed says nothing, as viewers have it.
  PictureTexts (*texts)(std::string_view bytes, const std::string& who) = nullptr;
  // The pixels as they lie in the file, row by row: 3 samples each, or 4 with the opacity. `info` is the file's, its
  // size within the limits of picture.h. Throws Error(input) when they are damaged or of a kind that is not read (inks,
  // an animation), bad_alloc.
  std::vector<std::uint8_t> (*samples)(std::string_view bytes, const std::string& who, const PictureInfo& info,
                                       int channels) = nullptr;
};

// A row for each, PNG first.
std::span<const ImageFormat* const> image_formats();
const ImageFormat& png_format();

// The format that a file's first bytes tell, or a name's ending (in lower case, with its dot); null: none of them.
const ImageFormat* image_format_of(std::string_view bytes);
const ImageFormat* image_format_of_ending(std::string_view ending);
// Does the file's name end as those of pictures do, in any case?
bool is_named_as_picture(const std::filesystem::path& file);

// "PNG, JPEG, WebP, AVIF and JPEG XL"
std::string image_format_names();

// Throws Error(fault), with `who` in front, when this sdgen cannot read and write the format: it was built without its
// library, or that is not there.
void require_usable(const ImageFormat& format, Fault fault, const std::string& who);

// The texts of a file that has them in an EXIF block (from "MM" or "II" on) and an XMP packet; "": it has none.
PictureTexts texts_of_blocks(std::string_view exif, std::string_view xmp);

// That a file is refused because it has several pictures.
Error animation(const std::string& who);

// Makes samples of red, green and blue out of such with the opacity.
void drop_opacity(std::vector<std::uint8_t>& samples);

// Throws Error(internal) unless the picture has a size, all its samples, and no side that the format cannot hold.
void require_encodable(const ImageFormat& format, const Image& image);

}  // namespace sdgen
