// Text in pictures, in DejaVu Sans, and what that lacks, like Chinese, in Droid Sans Fallback; both are compiled in.
// Glyphs stand one after the other (kerned, but without the shaping that Arabic or Devanagari need); characters that
// neither font has show as a box.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

struct Rgb {
  std::uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Rgb&) const = default;
};

// Pixels from one line's top to the next one's, of text that is `height` pixels from ascender to descender.
int line_height(int height);

// Width in pixels of a line of UTF-8 text.
int text_width(std::string_view text, int height);

// Draws a line of UTF-8 text, anti-aliased, with its top left corner at `at`; what falls outside is left out.
void draw_text(Image& onto, Point at, std::string_view text, int height, Rgb colour);

// The text in lines at most `width` pixels wide: broken at blanks and line ends, inside a word only where that alone is
// wider. Of more than `most` lines the rest is left out and the last one ends in an ellipsis.
std::vector<std::string> wrapped(std::string_view text, int height, int width, std::size_t most);

}  // namespace sdgen
