#include "io/label.h"

#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "io/utf8.h"
#include "sdgen/error.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define STB_TRUETYPE_IMPLEMENTATION
#define STBTT_STATIC
#include <stb_truetype.h>
#pragma GCC diagnostic pop

// The font's bytes, put into the executable by the assembler.
asm(".section .rodata\n"
    "sdgen_font_begin: .incbin \"" SDGEN_FONT
    "\"\n"
    ".previous\n");
extern "C" const unsigned char sdgen_font_begin[];

namespace sdgen {
namespace {

constexpr const char* kEllipsis = "\u2026";

const stbtt_fontinfo& font() {
  static const stbtt_fontinfo info = [] {
    stbtt_fontinfo f;
    if (!stbtt_InitFont(&f, sdgen_font_begin, stbtt_GetFontOffsetForIndex(sdgen_font_begin, 0)))
      throw Error(Fault::internal, "the built-in font is damaged");
    return f;
  }();
  return info;
}

// Characters of UTF-8 text; bytes that are none are U+FFFD, controls are blanks.
std::vector<int> characters(std::string_view text) {
  std::vector<int> result;
  const icu::UnicodeString units = icu::UnicodeString::fromUTF8(text);
  for (int i = 0; i < units.length(); i = units.moveIndex32(i, 1)) {
    const UChar32 character = units.char32At(i);
    result.push_back(character < 0x20 || character == 0x7F ? ' ' : character);
  }
  return result;
}

// Calls visit(character, x) with every character's pen position and returns the width of all.
template <class Visit>
double layout(const std::vector<int>& text, double scale, const Visit& visit) {
  double x = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int advance = 0, bearing = 0;
    stbtt_GetCodepointHMetrics(&font(), text[i], &advance, &bearing);
    visit(text[i], x);
    x += scale * advance;
    if (i + 1 < text.size()) x += scale * stbtt_GetCodepointKernAdvance(&font(), text[i], text[i + 1]);
  }
  return x;
}

double scale_of(int height) { return stbtt_ScaleForPixelHeight(&font(), static_cast<float>(height)); }

void blend(Image& onto, Point at, const std::vector<unsigned char>& coverage, Size size, Rgb colour) {
  const int channels[] = {colour.red, colour.green, colour.blue};
  for (int y = std::max(0, -at.top); y < std::min(size.height, onto.height - at.top); ++y) {
    for (int x = std::max(0, -at.left); x < std::min(size.width, onto.width - at.left); ++x) {
      const int cover = coverage[std::size_t(y) * size.width + x];
      std::uint8_t* pixel = &onto.rgb[3 * (std::size_t(at.top + y) * onto.width + at.left + x)];
      for (int c = 0; c < 3; ++c)
        pixel[c] = static_cast<std::uint8_t>((pixel[c] * (255 - cover) + channels[c] * cover + 127) / 255);
    }
  }
}

// The longest beginning of `text`, in whole characters and at least one, that is at most `width` wide.
std::size_t fitting(std::string_view text, int height, int width) {
  std::size_t end = 0;
  for (std::size_t next = 1; next <= text.size(); ++next) {
    if (next < text.size() && (text[next] & 0xC0) == 0x80) continue;
    if (end > 0 && text_width(text.substr(0, next), height) > width) break;
    end = next;
  }
  return end;
}

// Appends the words of one line of text.
void wrap_line(std::vector<std::string>& lines, std::string_view text, int height, int width) {
  lines.emplace_back();
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = text.find_first_not_of(" \t\r", i);
    if (begin == text.npos) return;
    i = std::min(text.find_first_of(" \t\r", begin), text.size());
    std::string_view word = text.substr(begin, i - begin);
    if (!lines.back().empty()) {
      const std::string longer = concat(lines.back(), ' ', word);
      if (text_width(longer, height) <= width) {
        lines.back() = longer;
        continue;
      }
      lines.emplace_back();
    }
    for (std::size_t end; (end = fitting(word, height, width)) < word.size(); word.remove_prefix(end)) {
      lines.back() = word.substr(0, end);
      lines.emplace_back();
    }
    lines.back() = word;
  }
}

}  // namespace

int line_height(int height) {
  int ascent = 0, descent = 0, gap = 0;
  stbtt_GetFontVMetrics(&font(), &ascent, &descent, &gap);
  return height + static_cast<int>(std::ceil(scale_of(height) * gap));
}

int text_width(std::string_view text, int height) {
  return static_cast<int>(std::ceil(layout(characters(text), scale_of(height), [](int, double) {})));
}

void draw_text(Image& onto, Point at, std::string_view text, int height, Rgb colour) {
  const float scale = static_cast<float>(scale_of(height));
  int ascent = 0, descent = 0, gap = 0;
  stbtt_GetFontVMetrics(&font(), &ascent, &descent, &gap);
  const int baseline = at.top + static_cast<int>(std::lround(scale * static_cast<float>(ascent)));
  layout(characters(text), scale, [&](int character, double pen) {
    const int whole = static_cast<int>(std::floor(pen));
    const float part = static_cast<float>(pen - whole);
    int left = 0, top = 0, right = 0, bottom = 0;
    stbtt_GetCodepointBitmapBoxSubpixel(&font(), character, scale, scale, part, 0, &left, &top, &right, &bottom);
    const Size size{right - left, bottom - top};
    if (size.width <= 0 || size.height <= 0) return;  // a blank
    std::vector<unsigned char> coverage(std::size_t(size.width) * size.height);
    stbtt_MakeCodepointBitmapSubpixel(&font(), coverage.data(), size.width, size.height, size.width, scale, scale, part,
                                      0, character);
    blend(onto, {at.left + whole + left, baseline + top}, coverage, size, colour);
  });
}

std::vector<std::string> wrapped(std::string_view text, int height, int width, std::size_t most) {
  const std::string valid = repair_utf8(text);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin <= valid.size() && lines.size() <= most;) {
    const std::size_t end = std::min(valid.find('\n', begin), valid.size());
    wrap_line(lines, std::string_view(valid).substr(begin, end - begin), height, width);
    begin = end + 1;
  }
  if (lines.size() <= most) return lines;
  lines.resize(most);
  if (most == 0) return lines;
  std::string& last = lines.back();
  while (!last.empty() && text_width(last + kEllipsis, height) > width) {
    do {
      last.pop_back();
    } while (!last.empty() && (last.back() & 0xC0) == 0x80);
    if (!last.empty() && (last.back() & 0x80)) {  // the lead byte of what was cut
      const std::size_t whole = valid_utf8_prefix(last);
      last.resize(whole);
    }
  }
  last += kEllipsis;
  return lines;
}

}  // namespace sdgen
