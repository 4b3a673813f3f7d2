#include "cli/show.h"

#include <openssl/evp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "image/png.h"
#include "image/resize.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr int kLevels = 6;  // of a channel, in the colour cube of sixels and of 256 colours

std::string png_base64(const Image& image) {
  const std::vector<std::byte> png = encode_png(image, {});
  return base64({reinterpret_cast<const char*>(png.data()), png.size()});
}

// The picture at most `columns` wide.
Image narrowed(const Image& image, int columns) {
  if (image.width <= columns) return image;
  const double ratio = double(columns) / image.width;
  return resize(image, {columns, std::max(1, static_cast<int>(std::lround(image.height * ratio)))});
}

// Each pixel's colour in the cube, 36 red + 6 green + blue; what a pixel is off goes to those that come after it.
std::vector<std::uint8_t> cube_colours(const Image& image) {
  std::vector<std::uint8_t> colours(std::size_t(image.width) * image.height);
  std::vector<float> errors(3 * (std::size_t(image.width) + 2)), next = errors;
  for (int y = 0; y < image.height; ++y) {
    std::ranges::fill(next, 0.0f);
    for (int x = 0; x < image.width; ++x) {
      const std::size_t pixel = std::size_t(y) * image.width + x;
      int colour = 0;
      for (int c = 0; c < 3; ++c) {
        const std::size_t at = 3 * (std::size_t(x) + 1) + c;
        const float wanted = std::clamp(image.rgb[3 * pixel + c] + errors[at], 0.0f, 255.0f);
        const int level = static_cast<int>(std::lround(wanted * (kLevels - 1) / 255));
        const float off = wanted - static_cast<float>(level) * 255 / (kLevels - 1);
        errors[at + 3] += off * 7 / 16;
        next[at - 3] += off * 3 / 16;
        next[at] += off * 5 / 16;
        next[at + 3] += off * 1 / 16;
        colour = colour * kLevels + level;
      }
      colours[pixel] = static_cast<std::uint8_t>(colour);
    }
    std::swap(errors, next);
  }
  return colours;
}

// A run of one sixel.
void append_sixels(std::string& out, int count, int bits) {
  const char sixel = static_cast<char>('?' + bits);
  if (count > 3)
    out += concat('!', count, sixel);
  else
    out.append(static_cast<std::size_t>(count), sixel);
}

// One colour's sixels of a band of `rows` rows.
std::string band_of(const std::uint8_t* band, int width, int rows, int colour) {
  std::string out;
  int run = 0, bits = -1;
  for (int x = 0; x < width; ++x) {
    int now = 0;
    for (int y = 0; y < rows; ++y) now |= (band[std::size_t(y) * width + x] == colour) << y;
    if (now != bits) {
      if (run > 0) append_sixels(out, run, bits);
      run = 0;
      bits = now;
    }
    ++run;
  }
  if (bits > 0) append_sixels(out, run, bits);  // blanks at the end are not drawn
  return out;
}

// "38;2;255;0;0": the parameters of a colour; `base` is 38 for the foreground, 48 for the background.
std::string colour_code(int base, const std::uint8_t* rgb, bool true_colours) {
  if (true_colours) return concat(base, ";2;", int(rgb[0]), ';', int(rgb[1]), ';', int(rgb[2]));
  // xterm's cube: levels 0, 95, 135, 175, 215, 255
  const auto level = [](int sample) { return sample < 48 ? 0 : sample < 115 ? 1 : (sample - 35) / 40; };
  return concat(base, ";5;", 16 + 36 * level(rgb[0]) + 6 * level(rgb[1]) + level(rgb[2]));
}

bool names(const char* value, std::initializer_list<std::string_view> beginnings) {
  return value && std::ranges::any_of(beginnings, [&](std::string_view beginning) {
           return std::string_view(value).starts_with(beginning);
         });
}

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL ends it with a NUL
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::string kitty_graphics(const Image& image) {
  constexpr std::size_t piece = 4096;
  const std::string data = png_base64(image);
  std::string out;
  for (std::size_t i = 0; i < data.size(); i += piece)
    out += concat("\x1b_G", i == 0 ? "a=T,f=100,q=2," : "", "m=", i + piece < data.size() ? 1 : 0, ';',
                  data.substr(i, piece), "\x1b\\");
  return out;
}

std::string iterm_graphics(const Image& image) {
  const std::string data = png_base64(image);
  return concat("\x1b]1337;File=inline=1;width=", image.width, "px;preserveAspectRatio=1:", data, "\a");
}

std::string sixel_graphics(const Image& image) {
  const std::vector<std::uint8_t> colours = cube_colours(image);
  std::array<bool, std::size_t{kLevels} * kLevels * kLevels> used{};
  for (const std::uint8_t colour : colours) used[colour] = true;
  std::string out = concat("\x1bPq\"1;1;", image.width, ';', image.height);  // square pixels
  const auto percent = [](int level) { return level * 100 / (kLevels - 1); };
  for (int i = 0; i < static_cast<int>(used.size()); ++i)
    if (used[i]) out += concat('#', i, ";2;", percent(i / 36), ';', percent(i / 6 % 6), ';', percent(i % 6));
  for (int top = 0; top < image.height; top += 6) {
    const int rows = std::min(6, image.height - top);
    const std::uint8_t* band = &colours[std::size_t(top) * image.width];
    std::array<bool, used.size()> here{};
    std::for_each(band, band + std::size_t(rows) * image.width, [&](std::uint8_t colour) { here[colour] = true; });
    if (top > 0) out += '-';
    bool first = true;
    for (int i = 0; i < static_cast<int>(here.size()); ++i)
      if (here[i]) out += concat(std::exchange(first, false) ? "" : "$", '#', i, band_of(band, image.width, rows, i));
  }
  return out + "\x1b\\";
}

std::string half_blocks(const Image& image, bool true_colours) {
  std::string out;
  for (int y = 0; y < image.height; y += 2) {
    std::string before;
    for (int x = 0; x < image.width; ++x) {
      const auto pixel = [&](int row) { return &image.rgb[3 * (std::size_t(row) * image.width + x)]; };
      std::string codes = colour_code(38, pixel(y), true_colours);
      if (y + 1 < image.height) codes += ';' + colour_code(48, pixel(y + 1), true_colours);
      if (codes != before) out += concat("\x1b[", codes, 'm');
      out += "\u2580";
      before = std::move(codes);
    }
    out += "\x1b[0m\n";
  }
  return out;
}

TerminalKind terminal_kind(const Environment& environment) {
  const auto is = [&](const char* name, std::initializer_list<std::string_view> beginnings) {
    return names(environment(name), beginnings);
  };
  const bool true_colours = is("COLORTERM", {"truecolor", "24bit"}) || environment("WT_SESSION");
  const TerminalKind blocks = true_colours ? TerminalKind::blocks : TerminalKind::blocks256;
  if (const char* given = environment("SDGEN_SHOW"); given && *given) {
    for (const auto& [word, kind] : {std::pair{"kitty", TerminalKind::kitty},
                                     {"iterm", TerminalKind::iterm},
                                     {"sixel", TerminalKind::sixel},
                                     {"blocks", blocks}})
      if (given == std::string_view(word)) return kind;
    throw Error(Fault::usage,
                concat("SDGEN_SHOW is '", printable(given, 60), "'; expected kitty, iterm, sixel or blocks"));
  }
  if (environment("TMUX") || environment("STY") || is("TERM", {"tmux", "screen"})) return blocks;
  if (environment("KITTY_WINDOW_ID") || is("TERM", {"xterm-kitty", "xterm-ghostty"}) || is("TERM_PROGRAM", {"ghostty"}))
    return TerminalKind::kitty;
  // Konsole has kitty's protocol since 22.04 (KONSOLE_VERSION is 220400 then).
  if (const char* version = environment("KONSOLE_VERSION"))
    return std::atol(version) >= 220400 ? TerminalKind::kitty : blocks;
  if (is("TERM_PROGRAM", {"iTerm.app", "WezTerm", "mintty"}) || is("LC_TERMINAL", {"iTerm2"}))
    return TerminalKind::iterm;
  if (is("TERM", {"foot", "mlterm", "contour", "yaft", "xterm-sixel"})) return TerminalKind::sixel;
  return blocks;
}

Terminal terminal_for_pictures(const Environment& environment) {
  if (isatty(STDERR_FILENO) != 1)
    throw Error(Fault::usage, "--show prints pictures on stderr, which is not a terminal here");
  const char* term = environment("TERM");
  if (names(term, {"dumb"})) throw Error(Fault::usage, "--show: this terminal shows no pictures (TERM is 'dumb')");
  Terminal terminal{terminal_kind(environment)};
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.columns = size.ws_col;
    terminal.cell_width = size.ws_xpixel / size.ws_col;
  }
  return terminal;
}

std::string shown(const Image& image, const Terminal& terminal) {
  constexpr int usual_cell = 8;
  const int pixels = terminal.columns * (terminal.cell_width > 0 ? terminal.cell_width : usual_cell);
  switch (terminal.kind) {
    case TerminalKind::kitty:
      return kitty_graphics(narrowed(image, pixels)) + "\n";
    case TerminalKind::iterm:
      return iterm_graphics(narrowed(image, pixels)) + "\n";
    case TerminalKind::sixel:
      return sixel_graphics(narrowed(image, pixels)) + "\n";
    case TerminalKind::blocks:
      return half_blocks(narrowed(image, terminal.columns), /*true_colours=*/true);
    case TerminalKind::blocks256:
      break;
  }
  return half_blocks(narrowed(image, terminal.columns), /*true_colours=*/false);
}

}  // namespace sdgen::cli
