#include "cli/fields.h"

#include <algorithm>

#include "cli/option_row.h"

namespace sdgen::cli {

std::string flag_of(std::string_view field) {
  const auto& rows = option_rows();
  const auto row = std::ranges::find(rows, field, &OptionRow::field);
  if (row != rows.end()) return row->name();
  std::string flag = concat("--", field);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

}  // namespace sdgen::cli
