// What the first bytes of a file say that it is, for messages about files that are something else than was asked for.
#pragma once

#include <cstddef>
#include <string_view>

namespace sdgen {

constexpr std::size_t kFormatHead = 64;  // bytes that tell

// How the files begin that are read as pictures.
constexpr std::string_view kPngBegin = "\x89PNG\r\n\x1A\n", kJpegBegin = "\xFF\xD8\xFF";

// "a WebP picture", "a ZIP archive (.zip, .xlsx, .docx)"; "": nothing that is known.
std::string_view format_of(std::string_view head);

// The format that a name's ending means, in lower case and with its dot: ".jfif" -> "JPEG"; "": none of pictures'.
std::string_view picture_format_of_ending(std::string_view ending);

// The same of a picture alone, without the words around it: "WebP"; "": no picture that is known.
std::string_view picture_format_of(std::string_view head);

}  // namespace sdgen
