// The project's own files: not what builds, commands and people put beside them.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/scratch.h"

namespace sdgen {

// Of `among`, files and folders of `root`: the files whose text is wanted, by their paths from there. Below what
// `skipped` says, nothing is looked at.
inline std::set<std::string> files_that(const std::filesystem::path& root, const std::vector<std::string>& among,
                                        const std::function<bool(const std::string& path)>& skipped,
                                        const std::function<bool(const std::string& text)>& wanted) {
  namespace fs = std::filesystem;
  std::set<std::string> found;
  const auto look = [&](const fs::path& file) {
    if (wanted(contents(file))) found.insert(file.lexically_relative(root).generic_string());
  };
  for (const std::string& name : among) {
    if (fs::is_regular_file(root / name)) look(root / name);
    if (!fs::is_directory(root / name)) continue;
    for (auto each = fs::recursive_directory_iterator(root / name); each != fs::recursive_directory_iterator();
         ++each) {
      if (skipped(each->path().lexically_relative(root).generic_string())) {
        if (each->is_directory()) each.disable_recursion_pending();
      } else if (each->is_regular_file()) {
        look(each->path());
      }
    }
  }
  return found;
}

}  // namespace sdgen
