// Pictures in the terminal, read back from what is sent there.
#include "cli/show.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <map>

#include "base/scratch.h"
#include "image/picture.h"

namespace sdgen::cli {
namespace {

Environment environment(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second.c_str();
  };
}

Image plain(int width, int height, std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i) image.rgb.insert(image.rgb.end(), {red, green, blue});
  return image;
}

// Many colours, of which no two neighbours are alike.
Image gradient(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (const int sample : {255 * x / width, 255 * y / height, (37 * x + 91 * y) % 256})
        image.rgb.push_back(static_cast<std::uint8_t>(sample));
  return image;
}

std::string unbase64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<unsigned>(digits.find(c));
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 255);
  }
  return bytes;
}

Image decoded(const std::string& png) {
  const Scratch scratch;
  return read_picture(scratch.write("x.png", png));
}

TEST(Show, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(Show, KittyGetsThePngInPieces) {
  const Image image = gradient(200, 100);
  std::string text = kitty_graphics(image), data;
  int pieces = 0;
  for (; !text.empty(); ++pieces) {
    ASSERT_TRUE(text.starts_with(pieces == 0 ? "\x1b_Ga=T,f=100,q=2,m=" : "\x1b_Gm=")) << text.substr(0, 40);
    const std::size_t begin = text.find(';'), end = text.find("\x1b\\");
    ASSERT_NE(end, std::string::npos);
    const std::string piece = text.substr(begin + 1, end - begin - 1);
    EXPECT_LE(piece.size(), 4096u);
    data += piece;
    text.erase(0, end + 2);
  }
  EXPECT_GT(pieces, 2);
  EXPECT_EQ(decoded(unbase64(data)).rgb, image.rgb);
  EXPECT_CONTAINS(kitty_graphics(plain(1, 1, 0, 0, 0)), "m=0;");
}

TEST(Show, ITermGetsThePng) {
  const Image image = gradient(40, 30);
  const std::string text = iterm_graphics(image);
  const std::string head = "\x1b]1337;File=inline=1;width=40px;preserveAspectRatio=1:";
  ASSERT_TRUE(text.starts_with(head));
  ASSERT_TRUE(text.ends_with("\a"));
  EXPECT_EQ(decoded(unbase64(text.substr(head.size()))).rgb, image.rgb);
}

// Draws sixels as a VT340 does. Pixels that nothing has drawn are grey.
Image sixels(const std::string& text) {
  std::size_t i = 0;
  const auto number = [&] {
    int value = 0;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]))) value = 10 * value + (text[i++] - '0');
    return value;
  };
  EXPECT_TRUE(text.starts_with("\x1bPq\"1;1;"));
  i = 8;
  const int width = number();
  ++i;
  const int height = number();
  Image image = plain(width, height, 1, 2, 3);
  std::map<int, std::array<int, 3>> palette;
  int colour = 0, x = 0, top = 0;
  while (i < text.size() && text[i] != '\x1b') {
    const char c = text[i++];
    if (c == '#') {
      colour = number();
      if (text[i] != ';') continue;
      std::array<int, 3> rgb{};
      ++i;
      EXPECT_EQ(number(), 2);
      for (int& part : rgb) {
        ++i;
        part = number() * 255 / 100;
      }
      palette[colour] = rgb;
    } else if (c == '$') {
      x = 0;
    } else if (c == '-') {
      x = 0;
      top += 6;
    } else {
      const int count = c == '!' ? number() : 1;
      const int bits = (c == '!' ? text[i++] : c) - '?';
      EXPECT_TRUE(bits >= 0 && bits < 64);
      for (int n = 0; n < count; ++n, ++x)
        for (int y = 0; y < 6; ++y) {
          if (!(bits >> y & 1)) continue;
          EXPECT_TRUE(x < width && top + y < height);
          for (int part = 0; part < 3; ++part)
            image.rgb.at(3 * (std::size_t(top + y) * width + x) + part) =
                static_cast<std::uint8_t>(palette.at(colour)[part]);
        }
    }
  }
  EXPECT_EQ(text.substr(i), "\x1b\\");
  EXPECT_LE(palette.size(), 256u);
  return image;
}

TEST(Show, SixelsAreThePicture) {
  EXPECT_EQ(sixels(sixel_graphics(plain(7, 13, 255, 0, 51))).rgb, plain(7, 13, 255, 0, 51).rgb);
  const Image image = gradient(64, 47), back = sixels(sixel_graphics(image));
  ASSERT_EQ(back.width, 64);
  ASSERT_EQ(back.height, 47);
  // Dithered: no pixel is far off, and squares of them have the right mean.
  for (std::size_t i = 0; i < image.rgb.size(); ++i) EXPECT_LE(std::abs(int(image.rgb[i]) - int(back.rgb[i])), 80);
  for (int top = 0; top + 8 <= 47; top += 8)
    for (int left = 0; left + 8 <= 64; left += 8)
      for (int c = 0; c < 3; ++c) {
        int difference = 0;
        for (int y = top; y < top + 8; ++y)
          for (int x = left; x < left + 8; ++x) {
            const std::size_t at = 3 * (std::size_t(y) * 64 + x) + c;
            difference += int(image.rgb[at]) - int(back.rgb[at]);
          }
        EXPECT_LE(std::abs(difference), 64 * 8) << left << ' ' << top << ' ' << c;
      }
}

TEST(Show, SixelsCountWhatRepeats) {
  EXPECT_EQ(sixel_graphics(plain(100, 6, 0, 0, 0)), "\x1bPq\"1;1;100;6#0;2;0;0;0#0!100~\x1b\\");
  EXPECT_EQ(sixel_graphics(plain(2, 7, 255, 255, 255)), "\x1bPq\"1;1;2;7#215;2;100;100;100#215~~-#215@@\x1b\\");
}

TEST(Show, HalfBlocksAreTwoPixelsHigh) {
  Image image{2, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 9, 9, 9, 9, 9, 9}};
  EXPECT_EQ(half_blocks(image, true),
            "\x1b[38;2;255;0;0;48;2;0;0;255m\u2580\x1b[38;2;0;255;0;48;2;1;2;3m\u2580\x1b[0m\n"
            "\x1b[38;2;9;9;9m\u2580\u2580\x1b[0m\n");
  EXPECT_EQ(half_blocks(image, false),
            "\x1b[38;5;196;48;5;21m\u2580\x1b[38;5;46;48;5;16m\u2580\x1b[0m\n"
            "\x1b[38;5;16m\u2580\u2580\x1b[0m\n");
}

TEST(Show, TerminalsAreKnownByTheirEnvironment) {
  using enum TerminalKind;
  const auto kind = [](std::map<std::string, std::string> values) { return terminal_kind(environment(values)); };
  EXPECT_EQ(kind({}), blocks256);
  EXPECT_EQ(kind({{"TERM", "xterm-256color"}, {"COLORTERM", "truecolor"}}), blocks);
  EXPECT_EQ(kind({{"WT_SESSION", "1"}}), blocks);
  EXPECT_EQ(kind({{"TERM", "xterm-kitty"}}), kitty);
  EXPECT_EQ(kind({{"KITTY_WINDOW_ID", "1"}, {"TERM", "xterm-256color"}}), kitty);
  EXPECT_EQ(kind({{"KITTY_WINDOW_ID", "1"}, {"TMUX", "/tmp/x"}}), blocks256);
  EXPECT_EQ(kind({{"TERM", "screen.xterm-256color"}, {"TERM_PROGRAM", "iTerm.app"}}), blocks256);
  EXPECT_EQ(kind({{"TERM_PROGRAM", "iTerm.app"}, {"COLORTERM", "truecolor"}}), iterm);
  EXPECT_EQ(kind({{"TERM_PROGRAM", "WezTerm"}}), iterm);
  EXPECT_EQ(kind({{"TERM_PROGRAM", "vscode"}, {"COLORTERM", "truecolor"}}), blocks);
  EXPECT_EQ(kind({{"TERM", "foot"}}), sixel);
  EXPECT_EQ(kind({{"KONSOLE_VERSION", "221201"}}), kitty);
  EXPECT_EQ(kind({{"KONSOLE_VERSION", "211203"}}), blocks256);
  EXPECT_EQ(kind({{"SDGEN_SHOW", "sixel"}, {"TMUX", "x"}}), sixel);
  EXPECT_EQ(kind({{"SDGEN_SHOW", "blocks"}, {"KITTY_WINDOW_ID", "1"}, {"COLORTERM", "24bit"}}), blocks);
  EXPECT_EQ(kind({{"SDGEN_SHOW", ""}, {"TERM", "foot"}}), sixel);
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { kind({{"SDGEN_SHOW", "ascii"}}); }), "'ascii'");
}

TEST(Show, IsAsWideAsTheTerminalAtMost) {
  const Image wide = gradient(400, 100);
  const auto count = [](const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
    return n;
  };
  const std::string blocks = shown(wide, {TerminalKind::blocks, 40, 0});
  EXPECT_EQ(count(blocks, "\n"), 5u);
  EXPECT_EQ(count(blocks, "\u2580"), 200u);
  EXPECT_EQ(count(shown(gradient(10, 10), {TerminalKind::blocks256, 40, 0}), "\u2580"), 50u);
  EXPECT_CONTAINS(shown(wide, {TerminalKind::sixel, 40, 0}), "\"1;1;320;80");
  EXPECT_CONTAINS(shown(wide, {TerminalKind::sixel, 40, 5}), "\"1;1;200;50");
  EXPECT_CONTAINS(shown(wide, {TerminalKind::sixel, 80, 0}), "\"1;1;400;100");
  EXPECT_CONTAINS(shown(wide, {TerminalKind::iterm, 40, 0}), "width=320px");
  EXPECT_TRUE(shown(wide, {TerminalKind::kitty, 40, 0}).ends_with("\x1b\\\n"));
}

}  // namespace
}  // namespace sdgen::cli
