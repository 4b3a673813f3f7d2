// How far two words are apart.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace sdgen {

// How many bytes to insert, leave out, exchange or swap with their neighbours makes `b` of `a`: the Damerau-Levenshtein
// distance in its restricted form (optimal string alignment). Words of more than 256 bytes, which no slip of the pen
// makes, count as wholly different: the time grows with the product of the lengths.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  constexpr std::size_t longest = 256;
  if (std::max(a.size(), b.size()) > longest) return a == b ? 0 : std::max(a.size(), b.size());
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = above[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

}  // namespace sdgen
