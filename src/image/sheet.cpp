#include "image/sheet.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "image/label.h"
#include "image/resize.h"

namespace sdgen {
namespace {

constexpr Rgb kBackground{244, 244, 244}, kInk{24, 24, 24};
constexpr int kGap = 8;
constexpr int kSmallestText = 12, kLargestText = 36;
constexpr std::size_t kLabelLines = 6, kHeadingLines = 3;

Image empty_sheet(Size size) {
  Image image{size.width, size.height, std::vector<std::uint8_t>(3 * std::size_t(size.width) * size.height)};
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    image.rgb[i] = kBackground.red;
    image.rgb[i + 1] = kBackground.green;
    image.rgb[i + 2] = kBackground.blue;
  }
  return image;
}

// A text's lines, centred around `middle`.
void draw_lines(Image& onto, const std::vector<std::string>& lines, int middle, int top, int height) {
  for (const std::string& line : lines) {
    draw_text(onto, {middle - text_width(line, height) / 2, top}, line, height, kInk);
    top += line_height(height);
  }
}

// Sizes of all parts, and the texts as they are broken into lines.
struct Layout {
  using Lines = std::vector<std::string>;
  Size cell;
  int text = kSmallestText;          // its height
  int left = 0, top = 0, label = 0;  // of row headings, of column headings, of the labels of a row
  std::vector<Lines> labels, columns, rows;

  explicit Layout(const Sheet& sheet) {
    for (const Sheet::Cell& c : sheet.cells) {
      cell.width = std::max(cell.width, c.picture.width);
      cell.height = std::max(cell.height, c.picture.height);
    }
    cell = {std::max(cell.width, 1), std::max(cell.height, 1)};
    text = std::clamp(std::min(cell.width, cell.height) / 20, kSmallestText, kLargestText);
    const auto broken = [&](const std::string& t, std::size_t most) {
      return t.empty() ? Lines() : wrapped(t, text, cell.width, most);
    };
    for (const Sheet::Cell& c : sheet.cells) labels.push_back(broken(c.label, kLabelLines));
    for (const std::string& heading : sheet.column_headings) columns.push_back(broken(heading, kHeadingLines));
    for (const std::string& heading : sheet.row_headings) rows.push_back(broken(heading, kLabelLines));
    label = high(labels);
    top = high(columns);
    for (const Lines& lines : rows)
      for (const std::string& line : lines) left = std::max(left, text_width(line, text) + kGap);
  }

  // Of the longest of them.
  int high(const std::vector<Lines>& texts) const {
    std::size_t most = 0;
    for (const Lines& lines : texts) most = std::max(most, lines.size());
    return most == 0 ? 0 : static_cast<int>(most) * line_height(text) + kGap / 2;
  }
  int column(int i) const { return left + kGap + i * (cell.width + kGap); }
  int row_height() const { return cell.height + label + kGap; }
};

// One row of cells with what is below and beside it.
Image row_of(Sheet& sheet, const Layout& layout, int row, int width) {
  Image band = empty_sheet({width, layout.row_height()});
  if (std::size_t(row) < layout.rows.size())
    draw_lines(band, layout.rows[row], layout.left / 2,
               (layout.cell.height - static_cast<int>(layout.rows[row].size()) * line_height(layout.text)) / 2,
               layout.text);
  for (int column = 0; column < sheet.columns; ++column) {
    const std::size_t i = std::size_t(row) * sheet.columns + column;
    if (i >= sheet.cells.size()) break;
    const Image picture = std::exchange(sheet.cells[i].picture, {});
    if (picture.width == 0) continue;
    const int left = layout.column(column);
    paste(band, picture, {left + (layout.cell.width - picture.width) / 2, (layout.cell.height - picture.height) / 2});
    draw_lines(band, layout.labels[i], left + layout.cell.width / 2, layout.cell.height + kGap / 2, layout.text);
  }
  return band;
}

}  // namespace

Size most_of_a_cell(int columns, int rows) {
  // Row headings are at most as wide as a cell; a quarter of the height is enough for the texts, at any size.
  const int lines = static_cast<int>(kLabelLines) * line_height(kSmallestText) + kGap;
  return {(kLongestSheet - kGap) / (columns + 1) - kGap, ((kLongestSheet - kGap) / (rows + 1) - kGap - lines) * 3 / 4};
}

Image at_most(Image image, Size most) {
  const double ratio = std::min(double(most.width) / image.width, double(most.height) / image.height);
  if (ratio >= 1) return image;
  return resize(image, {std::max(1, int(image.width * ratio)), std::max(1, int(image.height * ratio))});
}

Size squarest(std::size_t count) {
  const int columns = static_cast<int>(std::ceil(std::sqrt(double(count))));
  return {columns, static_cast<int>((count + columns - 1) / columns)};
}

Image drawn(Sheet sheet) {
  const Layout layout(sheet);
  const int width = layout.column(sheet.columns);
  Image whole = empty_sheet({width, kGap + layout.top});
  whole.rgb.reserve(3 * std::size_t(width) * (whole.height + std::size_t(sheet.rows) * layout.row_height()));
  for (std::size_t i = 0; i < layout.columns.size(); ++i)
    draw_lines(whole, layout.columns[i], layout.column(int(i)) + layout.cell.width / 2, kGap / 2, layout.text);
  for (int row = 0; row < sheet.rows; ++row) {
    const Image band = row_of(sheet, layout, row, width);
    whole.rgb.insert(whole.rgb.end(), band.rgb.begin(), band.rgb.end());
    whole.height += band.height;
  }
  return whole;
}

}  // namespace sdgen
