// --sweep: a run over the product of some options' values.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "cli/settings.h"

namespace sdgen::cli {

// "steps=10,20,30; guidance_scale=3,7": axes of options and their values. The product of the axes are the cells; those
// of the first axis follow each other, as columns do.
class Sweep {
 public:
  struct Axis {
    std::string option;               // "--steps"
    std::vector<std::string> values;  // as they were written
  };

  // Names are those of batch files; values with a ',' or ';' stand in quotes; a switch has the values true and false.
  // Throws Error(usage) for what cannot be read, names no option of a picture, or has more than 10,000 cells.
  Sweep(const std::string& text, std::span<const OptionRow> rows);

  const std::vector<Axis>& axes() const& { return axes_; }
  void axes() && = delete;  // they would not outlive the sweep
  std::size_t cells() const;
  // What a cell says.
  Settings cell(std::size_t index) const;
  // Of a sheet of the cells: the values of the first axis, "steps: 10", and the combinations of the others, "guidance
  // scale: 3, eta: 0"; none for a single axis.
  std::vector<std::string> column_headings() const;
  std::vector<std::string> row_headings() const;
  // Does an axis have this option?
  bool has(std::string_view option) const;

 private:
  std::string heading(std::size_t cell, std::size_t axis) const;

  std::vector<Axis> axes_;
  std::vector<bool> switches_;  // of the axes
};

}  // namespace sdgen::cli
