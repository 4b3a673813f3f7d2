// What an EXIF block (CIPA DC-008: a TIFF structure) says about a picture. Malformed blocks say nothing, as viewers
// have it.
#pragma once

#include <string>
#include <string_view>

namespace sdgen {

// The text that AUTOMATIC1111 and others keep in UserComment (4.6.5), as UTF-8; "": none. What is not a valid character
// in the file is U+FFFD. `bytes`: from "MM" or "II" on.
std::string exif_comment(std::string_view bytes);

// The block without "Exif\0\0" before it, which JPEG has there, and some write elsewhere too.
std::string_view without_exif_begin(std::string_view bytes);

// A block that says this UTF-8 text as UserComment and nothing else, the way that AUTOMATIC1111 has it from piexif:
// "UNICODE\0", then UTF-16, everything with the highest byte first. NUL characters and bytes that are not UTF-8 become
// U+FFFD, as in a PNG file.
std::string exif_of_comment(std::string_view text);

// How the picture has to be turned to be upright (4.6.4.A): 1: it is; 2 mirrored left to right; 3 upside down; 4
// mirrored top to bottom; 5 transposed; 6 to be turned right; 7 transposed over the other diagonal; 8 to be turned
// left.
int exif_orientation(std::string_view bytes);

}  // namespace sdgen
