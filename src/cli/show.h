// --show: pictures in the terminal.
#pragma once

#include <functional>
#include <string>

#include "sdgen/sdgen.h"

namespace sdgen::cli {

// What a terminal understands: the graphics protocols of kitty, iTerm2 and DEC's VT340; or letters and colours alone,
// 2^24 of them or 256.
enum class TerminalKind { kitty, iterm, sixel, blocks, blocks256 };

// The value of a variable of the environment, null where it is not set.
using Environment = std::function<const char*(const char* name)>;

// As the environment tells: SDGEN_SHOW where that says it, else what terminals are known to set. Inside tmux and
// screen, which let no graphics through, and where nothing is known: blocks. Throws Error(usage) for another
// SDGEN_SHOW.
TerminalKind terminal_kind(const Environment& environment);

// Where pictures go.
struct Terminal {
  TerminalKind kind = TerminalKind::blocks;
  int columns = 80;
  int cell_width = 0;  // pixels a column; 0: unknown
};

// The terminal on stderr. Throws Error(usage) when stderr is not one, or cannot move its cursor (TERM=dumb).
Terminal terminal_for_pictures(const Environment& environment);

// The bytes that make the terminal show the picture, as wide as it is or as there are columns, and go to a new line.
std::string shown(const Image& image, const Terminal& terminal);

// Parts of it:
//   kitty's protocol: the PNG in base64, in pieces of 4096 characters
//   (https://sw.kovidgoyal.net/kitty/graphics-protocol)
std::string kitty_graphics(const Image& image);
//   iTerm2's inline image: the PNG in base64 (https://iterm2.com/documentation-images.html)
std::string iterm_graphics(const Image& image);
//   DEC's sixels: six rows a band, a colour after the other, repeated ones counted. 216 colours, a cube of six levels a
//   channel, with the error spread to the neighbours (Floyd & Steinberg, 1976): photographs look alike under any
//   palette that fits 256, and nothing of it depends on the picture.
std::string sixel_graphics(const Image& image);
//   a row of half blocks for two rows of pixels: the upper in the foreground's colour, the lower in the background's
std::string half_blocks(const Image& image, bool true_colours);

std::string base64(std::string_view bytes);

}  // namespace sdgen::cli
