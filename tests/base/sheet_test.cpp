// Text in pictures, and contact sheets.
#include "image/sheet.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "image/label.h"

namespace sdgen {
namespace {

constexpr Rgb kBlack{};

Image plain(int width, int height, Rgb colour) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i) image.rgb.insert(image.rgb.end(), {colour.red, colour.green, colour.blue});
  return image;
}

Rgb at(const Image& image, int x, int y) {
  const std::uint8_t* p = &image.rgb[3 * (std::size_t(y) * image.width + x)];
  return {p[0], p[1], p[2]};
}

std::size_t dark(const Image& image) {
  return static_cast<std::size_t>(std::ranges::count_if(image.rgb, [](int sample) { return sample < 128; })) / 3;
}

Image text(const std::string& words) {
  Image image = plain(200, 40, {255, 255, 255});
  draw_text(image, {5, 5}, words, 24, kBlack);
  return image;
}

TEST(Label, IsDrawnWhereItSays) {
  EXPECT_EQ(dark(text("")), 0u);
  EXPECT_EQ(dark(text(" \t\n")), 0u);
  const Image one = text("I"), two = text("II");
  EXPECT_GT(dark(one), 10u);
  EXPECT_EQ(dark(two), 2 * dark(one));
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 200; ++x) {
      const bool inside = x >= 5 && y >= 5 && y < 29 && x <= 5 + text_width("II", 24);
      EXPECT_TRUE(inside || at(two, x, y) == (Rgb{255, 255, 255})) << x << ' ' << y;
    }
  }
}

TEST(Label, LeavesOutWhatFallsOutside) {
  Image image = plain(10, 10, {255, 255, 255});
  for (const Point p : {Point{-500, 0}, {500, 0}, {0, -500}, {0, 500}}) draw_text(image, p, "WWW", 24, kBlack);
  EXPECT_EQ(dark(image), 0u);
  draw_text(image, {-8, -8}, "WWW", 24, kBlack);
  EXPECT_GT(dark(image), 0u);
}

TEST(Label, ReadsUtf8) {
  EXPECT_GT(text_width("\u0416\u0416", 24), text_width("\u0416", 24));
  EXPECT_NE(text("\u00e4").rgb, text("a").rgb);
  EXPECT_EQ(text("\u0905").rgb, text("\u0906").rgb);  // both are a box: no font has Devanagari
  EXPECT_GT(dark(text("\u0905")), 0u);
  EXPECT_EQ(text("\xff").rgb, text("\ufffd").rgb);
}

// Of the second font, whose characters are an em wide, on the line of the first.
TEST(Label, HasChineseJapaneseAndKorean) {
  const Image box = text("\u0905");
  for (const char* character : {"\u7ea2", "\u82f9", "\u3042", "\ud55c"}) {
    const Image shown = text(character);
    EXPECT_NE(shown.rgb, box.rgb) << character;
    EXPECT_GT(dark(shown), 40u) << character;
    EXPECT_NEAR(text_width(character, 24), 24 / 1.164, 1.5) << character;  // DejaVu Sans is 1.164 em high
    for (int y = 0; y < 40; ++y)
      EXPECT_TRUE((y >= 5 && y < 29) ||
                  std::all_of(&shown.rgb[600 * y], &shown.rgb[600 * y] + 600, [](int v) { return v == 255; }))
          << character << ' ' << y;
  }
  EXPECT_NE(text("\u7ea2").rgb, text("\u82f9").rgb);
  EXPECT_NEAR(text_width("I\u7ea2I", 240), 2 * text_width("I", 240) + text_width("\u7ea2", 240), 2);
}

TEST(Label, BreaksLinesAtBlanks) {
  const int width = text_width("a red apple", 12);
  EXPECT_EQ(wrapped("a red apple on a table", 12, width, 9), (std::vector<std::string>{"a red apple", "on a table"}));
  EXPECT_EQ(wrapped("seed 7\n  a  red\tapple", 12, width, 9), (std::vector<std::string>{"seed 7", "a red apple"}));
  for (const std::string& line : wrapped("Donaudampfschifffahrtsgesellschaft", 12, width, 9))
    EXPECT_LE(text_width(line, 12), width) << line;
  EXPECT_EQ(wrapped("", 12, width, 9).size(), 1u);
  EXPECT_EQ(wrapped("\u7ea2\u7ea2\u7ea2", 12, 1, 9).size(), 3u);  // never nothing on a line
}

TEST(Label, CutsWithAnEllipsis) {
  const int width = text_width("a red apple", 12);
  const std::vector<std::string> lines = wrapped("a red \u00e4pple on a table with much more", 12, width, 2);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[1].ends_with("\u2026")) << lines[1];
  EXPECT_LE(text_width(lines[1], 12), width);
  EXPECT_EQ(wrapped("\u00e4\u00e4\u00e4\u00e4 \u00e4", 12, text_width("\u00e4\u00e4", 12), 1).at(0), "\u2026");
}

TEST(Sheet, IsAsSquareAsItCanBe) {
  for (const auto& [count, size] :
       {std::pair{1, Size{1, 1}}, {2, {2, 1}}, {3, {2, 2}}, {5, {3, 2}}, {7, {3, 3}}, {12, {4, 3}}, {100, {10, 10}}})
    EXPECT_EQ(squarest(count), size) << count;
}

TEST(Sheet, PutsPicturesInTheirCells) {
  Sheet sheet{2, 2, {}, {}, {}};
  const Rgb red{255, 0, 0}, green{0, 255, 0}, blue{0, 0, 255};
  sheet.cells = {{plain(40, 20, red)}, {}, {plain(20, 30, green)}};
  sheet.cells[1].label = "x";  // of nothing: is not drawn
  const Image image = drawn(sheet);
  ASSERT_EQ(image.width, 2 * (40 + 8) + 8);
  const int label = line_height(12) + 4;
  ASSERT_EQ(image.height, 2 * (30 + label + 8) + 8);
  ASSERT_EQ(image.rgb.size(), 3u * image.width * image.height);
  std::size_t reds = 0, greens = 0;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      reds += at(image, x, y) == red;
      greens += at(image, x, y) == green;
      EXPECT_NE(at(image, x, y), blue);
    }
  EXPECT_EQ(reds, 800u);
  EXPECT_EQ(greens, 600u);
  EXPECT_EQ(at(image, 8, 8 + 5), red);  // in the middle of the cell
  EXPECT_EQ(at(image, 8 + 10, 8 + 30 + label + 8), green);
  EXPECT_EQ(dark(drawn({1, 1, {{plain(40, 20, {255, 255, 255})}}})), 0u);
}

TEST(Sheet, HasLabelsAndHeadings) {
  const Image white = plain(100, 100, {255, 255, 255});
  const Sheet bare{2, 1, {{white}, {white}}}, labelled{2, 1, {{white, "seed 1"}, {white, "seed 2\ntwo lines"}}};
  const Sheet headed{2, 1, {{white}, {white}}, {"steps 4", "steps 8"}, {"guidance 3"}};
  const Image a = drawn(bare), b = drawn(labelled), c = drawn(headed);
  EXPECT_EQ(b.width, a.width);
  EXPECT_EQ(b.height, a.height + 2 * line_height(12) + 4);
  EXPECT_EQ(c.width, a.width + text_width("guidance 3", 12) + 8);
  EXPECT_EQ(c.height, a.height + line_height(12) + 4);
  EXPECT_EQ(dark(a), 0u);
  EXPECT_GT(dark(b), 0u);
  EXPECT_GT(dark(c), 0u);
}

TEST(Sheet, IsNeverTooLarge) {
  const std::string label =
      "a long label that needs all of the lines that there may be, however many words it takes, and "
      "then some more of them, until there is no room";
  for (const auto& [columns, rows] : {std::pair{1, 1}, {10, 10}, {64, 1}, {1, 64}, {64, 64}}) {
    const Size most = most_of_a_cell(columns, rows);
    EXPECT_GE(std::min(most.width, most.height), 100) << columns << ' ' << rows;
    // Drawn small, with the plan of the large one: only the first row has pictures.
    Sheet sheet{columns, rows, {}};
    sheet.cells.push_back({plain(most.width, most.height, kBlack), label});
    if (std::size_t(most.width) * most.height * columns * rows > 40'000'000) continue;
    const Image image = drawn(sheet);
    EXPECT_LE(std::max(image.width, image.height), kLongestSheet) << columns << ' ' << rows;
  }
}

TEST(Sheet, PicturesKeepTheirProportions) {
  EXPECT_EQ(at_most(plain(40, 20, kBlack), {40, 20}).width, 40);
  const Image small = at_most(plain(40, 20, kBlack), {10, 10});
  EXPECT_EQ(small.width, 10);
  EXPECT_EQ(small.height, 5);
  EXPECT_EQ(at_most(plain(400, 1, kBlack), {10, 10}).height, 1);
}

}  // namespace
}  // namespace sdgen
