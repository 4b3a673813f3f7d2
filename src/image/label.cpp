#include "image/label.h"

#include <unicode/unistr.h>

#include <algorithm>
#include <array>
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

// The fonts' bytes, put into the executable by the assembler.
asm(".section .rodata\n"
    "sdgen_font_begin: .incbin \"" SDGEN_FONT
    "\"\n"
    "sdgen_wide_font_begin: .incbin \"" SDGEN_WIDE_FONT
    "\"\n"
    ".previous\n");
extern "C" const unsigned char sdgen_font_begin[], sdgen_wide_font_begin[];

namespace sdgen {
namespace {

constexpr const char* kEllipsis = "\u2026";

stbtt_fontinfo opened(const unsigned char* bytes) {
  stbtt_fontinfo info;
  if (!stbtt_InitFont(&info, bytes, stbtt_GetFontOffsetForIndex(bytes, 0)))
    throw Error(Fault::internal, "a built-in font is damaged");
  return info;
}

// The first, which lines are measured by, and the one for what that lacks.
const std::array<stbtt_fontinfo, 2>& fonts() {
  static const std::array<stbtt_fontinfo, 2> both = {opened(sdgen_font_begin), opened(sdgen_wide_font_begin)};
  return both;
}

// A character's shape: the glyph of the first font that has one, else the first font's box.
struct Glyph {
  const stbtt_fontinfo* font;
  int index;
};

Glyph glyph_of(int character) {
  for (const stbtt_fontinfo& font : fonts())
    if (const int index = stbtt_FindGlyphIndex(&font, character)) return {&font, index};
  return {&fonts().front(), 0};
}

// The scale of text that is `height` pixels from the first font's ascender to its descender. One em is as large in all
// fonts.
float scale_of(const stbtt_fontinfo& font, int height) {
  const stbtt_fontinfo& first = fonts().front();
  const float scale = stbtt_ScaleForPixelHeight(&first, static_cast<float>(height));
  return scale * stbtt_ScaleForMappingEmToPixels(&font, 1) / stbtt_ScaleForMappingEmToPixels(&first, 1);
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

// Calls visit(glyph, scale, x) with every character's pen position and returns the width of all.
template <class Visit>
double layout(const std::vector<int>& text, int height, const Visit& visit) {
  double x = 0;
  Glyph last{};
  for (const int character : text) {
    const Glyph glyph = glyph_of(character);
    const float scale = scale_of(*glyph.font, height);
    if (last.font == glyph.font) x += double(scale) * stbtt_GetGlyphKernAdvance(glyph.font, last.index, glyph.index);
    visit(glyph, scale, x);
    int advance = 0, bearing = 0;
    stbtt_GetGlyphHMetrics(glyph.font, glyph.index, &advance, &bearing);
    x += double(scale) * advance;
    last = glyph;
  }
  return x;
}

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
  const stbtt_fontinfo& first = fonts().front();
  int ascent = 0, descent = 0, gap = 0;
  stbtt_GetFontVMetrics(&first, &ascent, &descent, &gap);
  return height + static_cast<int>(std::ceil(scale_of(first, height) * static_cast<float>(gap)));
}

int text_width(std::string_view text, int height) {
  return static_cast<int>(std::ceil(layout(characters(text), height, [](const Glyph&, float, double) {})));
}

void draw_text(Image& onto, Point at, std::string_view text, int height, Rgb colour) {
  const stbtt_fontinfo& first = fonts().front();
  int ascent = 0, descent = 0, gap = 0;
  stbtt_GetFontVMetrics(&first, &ascent, &descent, &gap);
  const int baseline = at.top + static_cast<int>(std::lround(scale_of(first, height) * static_cast<float>(ascent)));
  layout(characters(text), height, [&](const Glyph& glyph, float scale, double pen) {
    const int whole = static_cast<int>(std::floor(pen));
    const float part = static_cast<float>(pen - whole);
    int left = 0, top = 0, right = 0, bottom = 0;
    stbtt_GetGlyphBitmapBoxSubpixel(glyph.font, glyph.index, scale, scale, part, 0, &left, &top, &right, &bottom);
    const Size size{right - left, bottom - top};
    if (size.width <= 0 || size.height <= 0) return;  // a blank
    std::vector<unsigned char> coverage(std::size_t(size.width) * size.height);
    stbtt_MakeGlyphBitmapSubpixel(glyph.font, coverage.data(), size.width, size.height, size.width, scale, scale, part,
                                  0, glyph.index);
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
