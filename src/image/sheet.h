// Contact sheets: pictures in rows and columns with a label each, and headings where the axes mean something.
#pragma once

#include <string>
#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

struct Sheet {
  struct Cell {
    Image picture;           // of no size: the cell stays empty
    std::string label = {};  // lines below it; what is too long is cut
  };
  int columns = 1, rows = 1;
  std::vector<Cell> cells;  // row by row, as many as there are; the others stay empty
  std::vector<std::string> column_headings = {}, row_headings = {};  // one for each, or none
};

// No side of a sheet is longer, in pixels.
constexpr int kLongestSheet = kMostSide;

// `columns` times `rows` of a sheet may be up to this far on each side: their pictures are small then, but pictures.
constexpr int kMostCells = 64;

// The size that a picture may have at most in a sheet of so many columns and rows, labels and headings included.
Size most_of_a_cell(int columns, int rows);

// The picture, made smaller with its proportions kept where it is larger than `most`.
Image at_most(Image image, Size most);

// As square as possible for `count` >= 1 cells, rather wide than high.
Size squarest(std::size_t count);

// The sheet, light grey where nothing is. Cells are as large as the largest picture, none larger than
// most_of_a_cell(). Pictures are taken out of the cells as they are drawn, so that the memory for the whole is needed
// once.
Image drawn(Sheet sheet);

}  // namespace sdgen
